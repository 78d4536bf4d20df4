import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parsePosition } from '../../../src/ledger/verify/positions.ts';

const half = fc.integer({ min: 0, max: 0xffff_ffff });

test('an LSN and a cluster time are read as their two numbers', () => {
  fc.assert(
    fc.property(half, half, (high, low) => {
      expect(parsePosition(`${high.toString(16).toUpperCase()}/${low.toString(16)}`)).toEqual({ high, low });
      expect(parsePosition(`${high}.${low}`)).toEqual({ high, low });
    }),
  );
});

test.each([
  '',
  '/',
  '0/',
  '/0',
  '0/123456789',
  '0/G',
  '1.2.3',
  '.1',
  '1.',
  '12345678901.1',
  '1.a',
  '0/1/2',
  '826B06B9ED00',
  '1/2.3',
  '-1/2',
  ' 1/2',
])('%j is no position', (text) => {
  expect(parsePosition(text)).toBeNull();
});
