import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter, toValidUtf8 } from '../../../src/record/byte-writer.ts';
import { envelopeCompiler, isoMicros, isoMillis, writeEnvelope } from '../../../src/record/envelope.ts';

/** A writer of a given size that hands full buffers on, as the ledger does. */
function sinking(size: number) {
  const parts: Buffer[] = [];
  const out = new ByteWriter(size, (writer, bytes) => {
    parts.push(Buffer.from(writer.buf.subarray(0, writer.pos)));
    writer.pos = 0;
    if (bytes > writer.buf.length) writer.buf = Buffer.alloc(bytes);
  });
  return { out, text: () => Buffer.concat([...parts, out.buf.subarray(0, out.pos)]).toString('utf8') };
}

describe('ByteWriter', () => {
  test('writes any text as a JSON string, whatever the size of its buffer', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.integer({ min: 1, max: 64 }), (value, size) => {
        const { out, text } = sinking(size);
        const bytes = Buffer.from(`[${value}]`);
        out.string(bytes, 1, bytes.length - 1);
        expect(JSON.parse(text())).toBe(value);
      }),
    );
  });

  test('escapes every byte below 0x20, quotes and backslashes, and nothing else', () => {
    const all = Buffer.from(Array.from({ length: 128 }, (_, i) => i));
    const { out, text } = sinking(16);
    out.string(all, 0, all.length);
    expect(text()).toBe(JSON.stringify(all.toString('latin1')));
  });

  test('writes values longer than a piece in pieces', () => {
    const value = Buffer.from('"'.repeat(200_001));
    const { out, text } = sinking(1 << 19);
    out.string(value, 0, value.length);
    out.bytes(value);
    expect(text()).toBe(`"${'\\"'.repeat(200_001)}"${'"'.repeat(200_001)}`);
    expect(out.buf.length).toBe(1 << 19);
  });

  test('makes room in the middle of a record, and grows without somebody to hand bytes on to', () => {
    const { out, text } = sinking(10);
    for (let i = 0; i < 100; i++) {
      out.ascii('abc');
      out.integer(i);
      out.byte(0x2c);
    }
    const expected = Array.from({ length: 100 }, (_, i) => `abc${i},`).join('');
    expect(text()).toBe(expected);
    const growing = new ByteWriter(1);
    growing.bytes(Buffer.from(expected));
    growing.json({ ü: [1, null] });
    expect(growing.buf.toString('utf8', 0, growing.pos)).toBe(`${expected}{"ü":[1,null]}`);
  });

  test.each([0, 9, 10, 123_456, Number.MAX_SAFE_INTEGER, -5])('writes the integer %i', (value) => {
    const { out, text } = sinking(4);
    out.integer(value);
    expect(text()).toBe(String(value));
  });
});

describe('text that is no UTF-8', () => {
  test('is replaced, valid text and its byte order mark are kept', () => {
    const valid = Buffer.from('\ufeffü🧨');
    expect(toValidUtf8(valid)).toBe(valid);
    expect(Buffer.from(toValidUtf8(Buffer.concat([valid, Buffer.from([0xff])]))).toString()).toBe('\ufeffü🧨\ufffd');
  });
});

describe('times', () => {
  test.each([
    [-1n, '1969-12-31T23:59:59.999999Z'],
    [0n, '1970-01-01T00:00:00.000000Z'],
    [1n, '1970-01-01T00:00:00.000001Z'],
    [-1_000_000n, '1969-12-31T23:59:59.000000Z'],
    [1_700_000_000_123_456n, '2023-11-14T22:13:20.123456Z'],
    [1_700_000_000_000_001n, '2023-11-14T22:13:20.000001Z'],
  ])('%i µs is %s', (micros, text) => {
    expect(isoMicros(micros)).toBe(text);
  });

  test('microseconds agree with Date for every millisecond', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1900-01-01'), max: new Date('2200-01-01'), noInvalidDate: true }),
        (date) => {
          expect(isoMicros(BigInt(date.getTime()) * 1000n)).toBe(date.toISOString().replace('Z', '000Z'));
          expect(isoMillis(date.getTime())).toBe(date.toISOString());
        },
      ),
    );
  });
});

test('an envelope names source, position and ordinal', () => {
  const compile = envelopeCompiler({ idPrefix: 'a"b', kind: 'change', source: { name: 'a"b', engine: 'postgres' } });
  const { out, text } = sinking(8);
  const fragments = compile({ position: '0/1', time: 'T', captured: 'C', source: ',"lsn":"0/1"' });
  writeEnvelope(out, fragments, 12, ':schema:"7"');
  expect(JSON.parse(`{"v":1${text()}}}`)).toEqual({
    v: 1,
    id: 'a"b:0/1:12:schema:"7"',
    kind: 'change',
    time: 'T',
    captured: 'C',
    source: { name: 'a"b', engine: 'postgres', lsn: '0/1', seq: 12 },
  });
});
