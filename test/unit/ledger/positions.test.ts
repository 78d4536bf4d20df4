import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parsePosition, positionText, readPlace } from '../../../src/ledger/verify/positions.ts';

const half = fc.integer({ min: 0, max: 0xffff_ffff });

test('an LSN and a cluster time are read as their two numbers', () => {
  fc.assert(
    fc.property(half, half, (high, low) => {
      const lsn = `${high.toString(16)}/${low.toString(16)}`;
      expect(parsePosition(lsn)).toMatchObject({ high, low, lsn: true });
      expect(parsePosition(lsn.toUpperCase())).toMatchObject({ high, low, lsn: true });
      expect(positionText(parsePosition(lsn)!)).toBe(lsn.toUpperCase());
      expect(parsePosition(`${high}.${low}`)).toMatchObject({ high, low, lsn: false });
      expect(positionText(parsePosition(`${high}.${low}`)!)).toBe(`${high}.${low}`);
    }),
  );
});

test('a place is read from the middle of a line, and what follows its ordinal is left', () => {
  fc.assert(
    fc.property(half, half, fc.nat(), fc.boolean(), (high, low, seq, lsn) => {
      const position = positionText({ high, low, lsn });
      const bytes = Buffer.from(`shop:${position}:${seq}","kind`);
      const place = { high: 0, low: 0, seq: 0, lsn };
      expect(readPlace(bytes, 5, place)).toBe(5 + position.length + 1 + `${seq}`.length);
      expect(place).toEqual({ high, low, seq, lsn });
      expect(readPlace(bytes, 5, { ...place, lsn: !lsn })).toBe(-1);
    }),
  );
});

test.each(['0/1', '0/1:', '0/1:x', '0/1:1234567890123456', '0/123456789:1', ':1', ''])('%j is no place', (text) => {
  expect(readPlace(Buffer.from(text), 0, { high: 0, low: 0, seq: 0, lsn: true })).toBe(-1);
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
