import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ISO_BYTES, writeIso } from '../../../connectors/mongodb/bson/scalars.ts';

const DAY_MS = 86_400_000;
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z');
const out = Buffer.alloc(ISO_BYTES);

function iso(ms: number): string | null {
  return writeIso(ms, out, 0) ? out.toString('latin1') : null;
}

test('each day of 1970 to 2500, and around each turn of a century, is the day that JavaScript says', () => {
  const days: number[] = Array.from({ length: Date.UTC(2500, 0) / DAY_MS }, (_, day) => day);
  for (let year = 2500; year < 10_000; year += 100) {
    const march = Date.UTC(year, 2, 1) / DAY_MS;
    days.push(march - 61, march - 60, march - 2, march - 1, march, march + 305);
  }
  const wrong = days.filter((day) => iso(day * DAY_MS) !== new Date(day * DAY_MS).toISOString());
  expect(wrong).toEqual([]);
});

test('each millisecond is written as JavaScript writes it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: LAST_MS }), (ms) => {
      expect(iso(ms)).toBe(new Date(ms).toISOString());
    }),
    { numRuns: 20_000, examples: [[0], [999], [1000], [59_999], [60_000], [DAY_MS - 1], [DAY_MS], [LAST_MS]] },
  );
});

test.each([-1, LAST_MS + 1, Number.NaN, Number.POSITIVE_INFINITY])('%s has no ISO form', (ms) => {
  expect(iso(ms)).toBeNull();
});
