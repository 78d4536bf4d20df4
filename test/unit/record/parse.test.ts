import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readHead } from '../../../src/record/head.ts';
import { isRawNumber, parseFront, parseRecord } from '../../../src/record/parse.ts';
import { recordSchema } from '../../../src/record/schema.ts';
import { sampleLines, sampleRecords } from '../../support/sample-records.ts';

describe('parseRecord', () => {
  test.each([
    '12345678901234567890',
    '-9007199254740993',
    '9007199254740.993',
    '0.1000000000000000055511151231257827',
    '1e400',
    '-1E+400',
    '1e-400',
    '1.23456789e-320',
    '-0',
    '-0.0e100',
  ])('writes the number %s as it stood', (text) => {
    for (const line of [`{"after":{"n":${text}}}`, `{"after":[${text},1]}`]) {
      expect(JSON.stringify(parseRecord(line))).toBe(line);
    }
  });

  test('keeps ordinary numbers as numbers, also beside long ones', () => {
    const record = parseRecord('{"after":{"a":1.50,"b":12345678901234567890,"c":42,"d":0.0}}') as { after: unknown };
    expect(record.after).toMatchObject({ a: 1.5, c: 42, d: 0 });
    expect(isRawNumber((record.after as { b: unknown }).b)).toBe(true);
  });

  test('gives back every decimal number with the same value', () => {
    const digits = fc.stringMatching(/^(0|[1-9][0-9]{0,24})$/);
    const fraction = fc.option(fc.stringMatching(/^[0-9]{1,20}$/));
    const exponent = fc.option(fc.integer({ min: -400, max: 400 }));
    fc.assert(
      fc.property(fc.boolean(), digits, fraction, exponent, (minus, whole, part, power) => {
        const text = `${minus ? '-' : ''}${whole}${part === null ? '' : `.${part}`}${power === null ? '' : `e${power}`}`;
        const out = JSON.stringify(parseRecord(`{"n":${text}}`)).slice(5, -1);
        expect(decimal(out)).toBe(decimal(text));
      }),
      { numRuns: 2000 },
    );
  });

  test('keeps a key named __proto__ as data', () => {
    const line = '{"after":{"__proto__":{"n":12345678901234567890}}}';
    expect(JSON.stringify(parseRecord(line))).toBe(line);
  });
});

describe('parseFront', () => {
  test('is the record without its values', () => {
    for (const [at, line] of sampleLines().entries()) {
      const { changed, before, after, missing, redacted, details, ...front } = sampleRecords()[at]!;
      expect(parseFront(Buffer.from(line))).toEqual(front);
    }
  });

  test('is not led astray by what an application sent, and keeps numbers of keys exact', () => {
    const context = '{"outcome":"denied","a":"\\",\\"outcome\\":\\"x\\"}"}';
    const line = `{"v":1,"object":{"key":{"id":12345678901234567890}},"context":${context},"outcome":"success","after":{"outcome":1}}`;
    const front = parseFront(Buffer.from(line));
    expect(JSON.stringify(front)).toBe(line.replace(/,"after".*/, '}'));
  });

  test('of a line without an outcome is the whole', () => {
    expect(parseFront(Buffer.from('{"a":1,"after":{"outcome":2}}'))).toEqual({ a: 1, after: { outcome: 2 } });
    expect(() => parseFront(Buffer.from('{"a":1'))).toThrow(SyntaxError);
  });
});

/** The value of a decimal text as digits and a power of ten, in one form. */
function decimal(text: string): string {
  const [, sign, whole, part = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(
    text,
  ) as unknown as string[];
  const all = `${whole}${part}`.replace(/^0+/, '');
  const kept = all.replace(/0+$/, '');
  return kept === '' ? `${sign}0` : `${sign}${kept}e${Number(power) - part.length + (all.length - kept.length)}`;
}

describe('readHead', () => {
  test('reads what a full parse reads', () => {
    for (const line of sampleLines()) {
      const bytes = Buffer.from(`xx${line}\n`);
      const { index, id, kind, time, captured, source } = parseRecord(line);
      expect(readHead(bytes, 2, bytes.length)).toEqual({ index, id, kind, time, captured, source: source.name });
    }
  });

  test('reads ids with escapes and ids longer than the part it looks at', () => {
    const [line] = sampleLines() as [string];
    for (const id of ['a"b\\c', 'x'.repeat(5000)]) {
      const bytes = Buffer.from(JSON.stringify({ ...parseRecord(line), id }));
      expect(readHead(bytes, 0, bytes.length).id).toBe(id);
    }
  });
});

test('the sample records conform to the record schema', () => {
  for (const record of sampleRecords()) expect(recordSchema.safeParse(record).error).toBeUndefined();
});
