import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageFraming } from '../../../connectors/postgres/framing.ts';

const XLOG_HEADER = Buffer.concat([Buffer.from('w'), Buffer.alloc(24, 0xee)]);

/** A message of the server: WAL data, a keepalive, or one that is not of the copy. */
function message(kind: 'wal' | 'keepalive' | 'notice', payload: Buffer): Buffer {
  const body =
    kind === 'wal'
      ? Buffer.concat([XLOG_HEADER, payload])
      : kind === 'keepalive'
        ? Buffer.from(`k${payload}`)
        : payload;
  const header = Buffer.alloc(5);
  header.write(kind === 'notice' ? 'N' : 'd');
  header.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([header, body]);
}

const kinds = fc.constantFrom('wal' as const, 'wal' as const, 'keepalive' as const, 'notice' as const);
const sizes = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 70_000, max: 90_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: (1 << 20) - 8, max: (1 << 20) + 8 }) },
);
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 300_000 })), {
  minLength: 1,
  maxLength: 9,
});

/** What was handed on, one entry a call: the payloads of WAL data, and the whole messages that are the driver's. */
function framed(bytes: Buffer, pieces: readonly number[]): { wal: boolean; bytes: Buffer }[] {
  const got: { wal: boolean; bytes: Buffer }[] = [];
  const framing = new MessageFraming({
    wal: (all, start, end) => got.push({ wal: true, bytes: Buffer.from(all.subarray(start, end)) }),
    other: (messages) => got.push({ wal: false, bytes: Buffer.from(messages) }),
  });
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const end = Math.min(bytes.length, at + pieces[i % pieces.length]! + (i > 200 ? 200_000 : 0));
    // Memory of its own, as a read of a socket has it.
    framing.push(Buffer.from(new Uint8Array(bytes.subarray(at, end)).buffer));
    at = end;
  }
  return got;
}

/** Neighbours that are the driver's may come together or alone. */
function joined(list: readonly { wal: boolean; bytes: Buffer }[]): { wal: boolean; bytes: string }[] {
  const out: { wal: boolean; bytes: Buffer }[] = [];
  for (const one of list) {
    const last = out.at(-1);
    if (!one.wal && last?.wal === false) last.bytes = Buffer.concat([last.bytes, one.bytes]);
    else out.push({ ...one });
  }
  return out.map(({ wal, bytes }) => ({ wal, bytes: bytes.toString('latin1') }));
}

test('WAL data and the other messages are handed on whole and in order, however the socket cuts them', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(kinds, sizes), { minLength: 1, maxLength: 8 }), cuts, (list, pieces) => {
      const messages = list.map(([kind, size], i) => {
        const payload = Buffer.alloc(size, i + 1);
        return { wal: kind === 'wal', payload, bytes: message(kind, payload) };
      });
      const expected = messages.map(({ wal, payload, bytes }) => ({ wal, bytes: wal ? payload : bytes }));
      const got = framed(Buffer.concat(messages.map(({ bytes }) => bytes)), pieces);
      expect(joined(got)).toEqual(joined(expected));
    }),
    { numRuns: 80 },
  );
});

test('an unfinished message is not handed on', () => {
  const whole = message('wal', Buffer.from('one'));
  for (let length = 1; length < whole.length; length++) expect(framed(whole.subarray(0, length), [length])).toEqual([]);
  expect(framed(whole, [1])).toEqual([{ wal: true, bytes: Buffer.from('one') }]);
});
