import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineEditor } from '../../../src/pipeline/delivery/line-editor.ts';
import { sinkMetrics } from '../../../src/pipeline/delivery/metrics.ts';
import { defaultDeliveryOptions } from '../../../src/pipeline/delivery/options.ts';
import { digestValues, isPart, splitRecord } from '../../../src/pipeline/delivery/oversize.ts';
import { makeShaper } from '../../../src/pipeline/delivery/shape.ts';
import { limitValues } from '../../../src/pipeline/delivery/values.ts';
import { membersOf, parseAt } from '../../../src/record/json-scan.ts';
import { recordSchema } from '../../../src/record/schema.ts';
import { sampleRecord } from '../../support/sink-ledger.ts';

const lineOf = (record: object) => Buffer.from(`${JSON.stringify({ v: 1, index: 5, ...record })}\n`);
const parse = (line: Buffer) => JSON.parse(line.toString('utf8'));

describe('membersOf', () => {
  test('finds the members of any object, with any spaces between', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 1, 3, '\t'), (object, space) => {
        const bytes = Buffer.from(JSON.stringify(object, null, space as number));
        const found = membersOf(bytes).map(({ name, valueStart, end }) => [
          JSON.parse(`"${name}"`),
          parseAt(bytes, valueStart, end),
        ]);
        expect(found).toEqual(Object.entries(JSON.parse(bytes.toString())));
      }),
    );
  });

  test('finds none in what is no object', () => {
    for (const text of ['[1,{"a":2}]', '"{"', '12', 'null', '']) expect(membersOf(Buffer.from(text))).toEqual([]);
  });
});

describe('values: none', () => {
  test('takes rows out, keeps the key and what changed, and says so', () => {
    const sent = parse(limitValues(lineOf(sampleRecord(1)), 'none'));
    const { before: _b, after: _a, ...rest } = sampleRecord(1) as Record<string, unknown>;
    expect(sent).toEqual({ v: 1, index: 5, ...rest, missing: { before: 'values_not_sent', after: 'values_not_sent' } });
    expect(recordSchema.parse(sent)).toBeTruthy();
  });

  test('takes out an update’s values that stand in details, and leaves other details', () => {
    const record = { ...sampleRecord(1), after: undefined, missing: { after: 'image_expired' } };
    const sent = parse(
      limitValues(lineOf({ ...record, details: { update: { updatedFields: { a: 1 } }, n: 1 } }), 'none'),
    );
    expect(sent.details).toEqual({ n: 1 });
    expect(sent.missing).toEqual({
      after: 'image_expired',
      before: 'values_not_sent',
      'details.update': 'values_not_sent',
    });
  });

  test('leaves definitions in records of other kinds', () => {
    const line = lineOf({ ...sampleRecord(1), kind: 'schema' });
    expect(limitValues(line, 'none')).toBe(line);
  });
});

describe('values: changed', () => {
  test('keeps the changed columns, bytes as they stand', () => {
    const line = Buffer.from(
      '{"v":1,"kind":"change","changed":["n","a.b","x.y"],"before":{"n":12345678901234567890.10,"k":1},"after":{"n":1e400,"a":{"b":{"c":1},"d":2},"x.y":3,"k":1}}\n',
    );
    expect(limitValues(line, 'changed').toString()).toBe(
      '{"v":1,"kind":"change","changed":["n","a.b","x.y"],"before":{"n":12345678901234567890.10},"after":{"n":1e400,"a":{"b":{"c":1}},"x.y":3},"missing":{"before.*":"unchanged_not_sent","after.*":"unchanged_not_sent"}}\n',
    );
  });

  test('leaves records of which all changed, or nobody knows what', () => {
    for (const record of [
      { kind: 'change', after: { a: 1 } },
      { kind: 'change', changed: ['a'], after: { a: 1 } },
    ]) {
      const line = lineOf(record);
      expect(limitValues(line, 'changed')).toBe(line);
    }
  });
});

/** Texts of one character in every width and escape, up to 6,000 of it. */
const value = fc.oneof(
  fc
    .tuple(fc.constantFrom('x', '"', '\\', '\n', '\u0001', 'é', '漢', '🙂'), fc.integer({ min: 0, max: 6000 }))
    .map(([c, n]) => c.repeat(n)),
  fc.integer(),
  fc.string({ unit: 'grapheme' }),
);
const rows = fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), value, { minKeys: 1, maxKeys: 20 });

describe('a record over the limit', () => {
  test('keeps every value or its digest and size, within the limit', () => {
    fc.assert(
      fc.property(rows, rows, fc.integer({ min: 2500, max: 20_000 }), (before, after, limit) => {
        const record: Record<string, unknown> = { ...sampleRecord(1), before, after };
        const line = lineOf(record);
        if (line.length <= limit) return;
        const smaller = digestValues(line, limit);
        if (smaller === null) return;
        expect(smaller.length).toBeLessThanOrEqual(limit);
        const sent = parse(smaller);
        expect(recordSchema.parse(sent)).toBeTruthy();
        for (const side of ['before', 'after'] as const) {
          for (const [name, value] of Object.entries(record[side] as object)) {
            const path = `${side}.${name}`;
            if (sent.missing?.[path] === undefined) {
              expect(sent[side][name]).toEqual(value);
              continue;
            }
            expect(sent.missing[path]).toBe('too_large');
            const text = JSON.stringify(value);
            const sha256 = createHash('sha256').update(text).digest('hex');
            expect(sent.details.digests[path]).toEqual({ sha256, bytes: Buffer.byteLength(text) });
          }
        }
      }),
    );
  });

  test('takes out no more than it must', () => {
    const line = lineOf({ ...sampleRecord(1), after: { id: 1, bio: 'x'.repeat(5000), note: 'y'.repeat(300) } });
    const sent = parse(digestValues(line, 2000)!);
    expect(sent.after).toEqual({ id: 1, note: 'y'.repeat(300) });
    expect(sent.missing).toEqual({ 'after.bio': 'too_large' });
  });

  test('replaces a value that is no object as a whole, and details too', () => {
    const line = lineOf({ ...sampleRecord(1), after: 'z'.repeat(5000), details: { big: 'd'.repeat(5000), n: 1 } });
    const sent = parse(digestValues(line, 2500)!);
    expect(sent.missing).toEqual({ after: 'too_large', 'details.big': 'too_large' });
    expect(sent.details).toMatchObject({ n: 1, digests: { after: { bytes: 5002 }, 'details.big': { bytes: 5002 } } });
    expect(sent.after).toBeUndefined();
  });

  test('whose own details have digests gives them up first, and they are not taken for ours', () => {
    const own = { a: 1, b: ['x'] };
    const record = {
      ...sampleRecord(1),
      kind: 'event',
      details: { digests: own, big: 'd'.repeat(5000), more: 'm'.repeat(1500) },
    };
    const first = digestValues(lineOf(record), 3500)!;
    const again = digestValues(first, 2200)!;
    for (const sent of [parse(first), parse(again)]) {
      const text = JSON.stringify(own);
      const sha256 = createHash('sha256').update(text).digest('hex');
      expect(sent.missing).toMatchObject({ 'details.digests': 'too_large', 'details.big': 'too_large' });
      expect(sent.details.digests).toMatchObject({ 'details.digests': { sha256, bytes: text.length } });
      expect(sent.details.digests['details.big']).toMatchObject({ bytes: 5002 });
    }
    expect(first.toString().match(/"digests":/g)).toHaveLength(1);
  });

  test('made smaller again and again still has every value or its one digest', () => {
    fc.assert(
      fc.property(
        rows,
        rows,
        fc.array(fc.integer({ min: 1200, max: 20_000 }), { maxLength: 4 }),
        (before, after, limits) => {
          const record: Record<string, unknown> = { ...sampleRecord(1), before, after, details: { n: 1 } };
          const lines: Buffer[] = [lineOf(record)];
          for (const limit of limits.sort((a, b) => b - a)) {
            const last = lines.at(-1)!;
            const smaller = last.length <= limit ? null : digestValues(last, limit);
            if (smaller !== null) lines.push(smaller);
          }
          if (lines.length === 1) return;
          const line = lines.at(-1)!;
          const sent = parse(line);
          // A name that stood twice would hide its first value from every reader.
          const names = new LineEditor(line).inner('details').map(({ name }) => name);
          expect(new Set(names).size).toBe(names.length);
          const gone = Object.keys(sent.missing ?? {}).filter((path) => sent.missing[path] === 'too_large');
          expect(Object.keys(sent.details.digests).sort()).toEqual(gone.sort());
          expect(sent.details.n ?? sent.details.digests['details.n']).toBeDefined();
        },
      ),
    );
  });

  test('a part that is still too large is split again, never digested', () => {
    const line = lineOf({ ...sampleRecord(1), after: { bio: 'x'.repeat(9000) } });
    const { bytes, ends } = splitRecord(line, 4000)!;
    const part = bytes.subarray(0, ends[0]!);
    expect(isPart(part)).toBe(true);
    expect(isPart(line)).toBe(false);
    const metrics = sinkMetrics();
    const { reduce } = makeShaper({
      options: { ...defaultDeliveryOptions(), oversized: 'digest' },
      maxRecordBytes: 4000,
      metrics,
      deadLetters: () => undefined,
      onFilterError: () => undefined,
    });
    const again = reduce(part, 2000)!;
    const texts = [...again.ends].map(
      (end, n) => parse(again.bytes.subarray(n === 0 ? 0 : again.ends[n - 1]!, end)).details.part.text,
    );
    expect(`${texts.join('')}\n`).toBe(part.toString('utf8'));
  });

  test('in parts gives back the record, each part within the limit and a record of its own', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 1200, max: 20_000 }), (after, limit) => {
        const line = lineOf({ ...sampleRecord(1), after });
        const { bytes, ends } = splitRecord(line, limit)!;
        let start = 0;
        const parts = [...ends].map((end) => {
          expect(end - start).toBeLessThanOrEqual(limit);
          const part = parse(bytes.subarray(start, end));
          start = end;
          return part;
        });
        expect(start).toBe(bytes.length);
        const text = parts.map((part) => part.details.part.text).join('');
        expect(`${text}\n`).toBe(line.toString('utf8'));
        const sha256 = createHash('sha256').update(text).digest('hex');
        parts.forEach((part, n) => {
          expect(recordSchema.parse(part)).toBeTruthy();
          expect(part.id).toBe(`${sampleRecord(1).id}#part${n + 1}`);
          expect(part.details.part).toMatchObject({ number: n + 1, of: parts.length, sha256 });
        });
      }),
    );
  });

  test('is given up only when the limit is too small for anything', () => {
    const line = lineOf(sampleRecord(1));
    expect(splitRecord(line, 300)).toBeNull();
    expect(digestValues(line, 300)).toBeNull();
  });
});
