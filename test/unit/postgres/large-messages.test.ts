import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LargeMessages } from '../../../connectors/postgres/large-messages.ts';

const message = (size: number, fill: number) => {
  const b = Buffer.alloc(5 + size, fill);
  b[0] = 0x64;
  b.writeUInt32BE(4 + size, 1);
  return b;
};

test('every byte is handed on in order, and each large message in one piece, however the socket cuts them', () => {
  const size = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 40 }) },
    { weight: 1, arbitrary: fc.integer({ min: 70_000, max: 90_000 }) },
    { weight: 2, arbitrary: fc.integer({ min: (1 << 20) - 8, max: (1 << 20) + 8 }) },
  );
  fc.assert(
    fc.property(
      fc.array(size, { minLength: 1, maxLength: 8 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 300_000 })), {
        minLength: 1,
        maxLength: 9,
      }),
      (sizes, cuts) => {
        const messages = sizes.map((bytes, i) => message(bytes, i + 1));
        const all = Buffer.concat(messages);
        const got: Buffer[] = [];
        const large = new LargeMessages((chunk) => got.push(Buffer.from(chunk)));
        for (let at = 0, i = 0; at < all.length; i++) {
          const end = Math.min(all.length, at + cuts[i % cuts.length]! + (i > 200 ? 200_000 : 0));
          // Memory of its own, as a read of a socket has it.
          large.push(Buffer.from(new Uint8Array(all.subarray(at, end)).buffer));
          at = end;
        }
        expect(Buffer.concat(got).equals(all)).toBe(true);
        // A large message begins a piece, whatever comes before it, unless a single read held it whole.
        for (const one of messages.filter(({ length }) => length >= 1 << 20)) {
          expect(got.some((chunk) => chunk.length >= one.length && chunk.includes(one))).toBe(true);
        }
      },
    ),
    { numRuns: 60 },
  );
});
