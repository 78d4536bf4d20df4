import { expect, test } from 'vitest';
import { backoffMs } from '../../../src/pipeline/backoff.ts';

test('waits are random over the whole of a bound that doubles up to the longest wait', () => {
  const bounds = [1, 2, 3, 4, 5, 20, 10_000].map((attempt) => backoffMs(attempt, 3000, () => 1));
  expect(bounds).toEqual([200, 400, 800, 1600, 3000, 3000, 3000]);
  expect(backoffMs(9, 3000, () => 0)).toBe(0);
  expect(backoffMs(3, 3000, () => 0.25)).toBe(200);
});

test('two that fail at the same moment do not come back at the same moment', () => {
  const waits = Array.from({ length: 200 }, () => backoffMs(10, 60_000));
  expect(new Set(waits).size).toBeGreaterThan(150);
  expect(Math.min(...waits)).toBeLessThan(15_000);
  expect(Math.max(...waits)).toBeGreaterThan(45_000);
});
