import fc from 'fast-check';
import { Binary, BSON, Decimal128, Double, Int32, Long, ObjectId, Timestamp } from 'mongodb';
import { expect, test } from 'vitest';
import { BsonJson } from '../../../connectors/mongodb/bson/json.ts';
import { ByteWriter } from '../../../src/record/byte-writer.ts';
import { bsonOf } from '../../support/extended-json.ts';
import { bsonDocument } from '../../support/random-bson.ts';

function jsonOf(bson: Uint8Array): { text: string; odd: boolean; brokenText: boolean } {
  const bytes = Buffer.from(bson);
  const out = new ByteWriter(256);
  const json = new BsonJson(out);
  json.document(bytes, 0);
  const odd = json.odd;
  if (odd) {
    out.pos = 0;
    json.begin(out, true);
    json.document(bytes, 0);
  }
  return { text: out.buf.toString('utf8', 0, out.pos), odd, brokenText: json.brokenText };
}

const written = (document: BSON.Document) => jsonOf(BSON.serialize(document, { ignoreUndefined: false })).text;

test('every random document comes back as the same BSON bytes', () => {
  fc.assert(
    fc.property(bsonDocument, (bytes) => {
      const { text, brokenText } = jsonOf(bytes);
      expect(brokenText).toBe(false);
      expect(bsonOf(JSON.parse(text)).equals(bytes)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test('documents without odd keys are read back by a stock reader of Extended JSON', () => {
  fc.assert(
    fc.property(bsonDocument, (bytes) => {
      const { text } = jsonOf(bytes);
      // What the package itself cannot write back (old types, dates beyond JavaScript's, UUIDs of another length) and our own two wrappers are left out.
      if (
        /"\$date":\{"\$numberLong":"-?\d{16,}|\$literal|\$bson|\$undefined|\$dbPointer|\$symbol|"subType":"0[249]"|\$code|__proto__/.test(
          text,
        )
      )
        return;
      const back = BSON.serialize(BSON.EJSON.parse(text, { relaxed: false }), { ignoreUndefined: false });
      expect(Buffer.from(back).equals(bytes)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

test('each type has its form', () => {
  const id = new ObjectId('0123456789abcdef01234567');
  expect(
    written({
      a: new Int32(7),
      b: new Double(1.5),
      c: new Double(5),
      d: new Double(-0),
      e: Long.fromString('9007199254740993'),
    }),
  ).toBe(
    '{"a":7,"b":1.5,"c":{"$numberDouble":"5.0"},"d":{"$numberDouble":"-0.0"},"e":{"$numberLong":"9007199254740993"}}',
  );
  expect(
    written({ a: Decimal128.fromString('1.10'), b: Decimal128.fromString('-1E+6100'), c: new Double(Number.NaN) }),
  ).toBe('{"a":{"$numberDecimal":"1.10"},"b":{"$numberDecimal":"-1E+6100"},"c":{"$numberDouble":"NaN"}}');
  expect(
    written({
      d: new Date('2025-01-02T03:04:05.006Z'),
      e: new Date(-1),
      f: new Date('9999-12-31T23:59:59.999Z'),
      g: new Date(253402300800000),
    }),
  ).toBe(
    '{"d":{"$date":"2025-01-02T03:04:05.006Z"},"e":{"$date":{"$numberLong":"-1"}},"f":{"$date":"9999-12-31T23:59:59.999Z"},"g":{"$date":{"$numberLong":"253402300800000"}}}',
  );
  expect(
    written({ _id: id, b: new Binary(Buffer.from('hi'), 128), t: new Timestamp({ t: 1, i: 4294967295 }), r: /a"b/i }),
  ).toBe(
    '{"_id":{"$oid":"0123456789abcdef01234567"},"b":{"$binary":{"base64":"aGk=","subType":"80"}},"t":{"$timestamp":{"t":1,"i":4294967295}},"r":{"$regularExpression":{"pattern":"a\\"b","options":"i"}}}',
  );
  expect(written({ s: 'a"\\\n\u0000é日😀', n: null, t: true, a: [1, ['x'], {}] })).toBe(
    '{"s":"a\\"\\\\\\n\\u0000é日😀","n":null,"t":true,"a":[1,["x"],{}]}',
  );
});

test('a user’s document cannot pose as another type', () => {
  expect(written({ a: { $oid: '0123456789abcdef01234567' } })).toBe(
    '{"a":{"$literal":[["$oid","0123456789abcdef01234567"]]}}',
  );
  expect(written({ a: { $date: 'fake' }, b: 1 })).toBe('{"a":{"$literal":[["$date","fake"]]},"b":1}');
});

test('keys that a JavaScript reader would sort, and duplicate keys, are kept as pairs; sorted index keys stay an object', () => {
  const reordered = jsonOf(
    fields([
      ['2', 1],
      ['1', 2],
    ]),
  );
  expect(reordered.text).toBe('{"$literal":[["2",1],["1",2]]}');
  expect(
    jsonOf(
      fields([
        ['1', 1],
        ['2', 2],
        ['x', 3],
      ]),
    ).text,
  ).toBe('{"1":1,"2":2,"x":3}');
  expect(
    jsonOf(
      fields([
        ['x', 3],
        ['1', 1],
      ]),
    ).text,
  ).toBe('{"$literal":[["x",3],["1",1]]}');
  expect(
    jsonOf(
      fields([
        ['3d', 3],
        ['x', 1],
      ]),
    ).text,
  ).toBe('{"3d":3,"x":1}');
  expect(
    jsonOf(
      fields([
        ['a', 1],
        ['a', 2],
      ]),
    ).text,
  ).toBe('{"$literal":[["a",1],["a",2]]}');
});

test('a duplicate key is seen across a nested document with the same key', () => {
  const inner = fields([['a', 1]]);
  const bytes = document([
    Buffer.from('\x10a\0\x01\0\0\0', 'latin1'),
    Buffer.from('\x03b\0', 'latin1'),
    inner,
    Buffer.from('\x10a\0\x02\0\0\0', 'latin1'),
  ]);
  expect(jsonOf(bytes).text).toBe('{"$literal":[["a",1],["b",{"a":1}],["a",2]]}');
});

test('documents nested 150 deep are written', () => {
  let document: BSON.Document = { end: 1 };
  for (let i = 0; i < 150; i++) document = { d: document };
  const bytes = BSON.serialize(document);
  expect(bsonOf(JSON.parse(jsonOf(bytes).text)).equals(Buffer.from(bytes))).toBe(true);
});

test('text that is not UTF-8 is written with replacement characters and said', () => {
  const bytes = document([Buffer.from('\x02s\0\x04\0\0\0a\xffb\0', 'latin1')]);
  const { text, brokenText } = jsonOf(bytes);
  expect(JSON.parse(text)).toEqual({ s: 'a\ufffdb' });
  expect(brokenText).toBe(true);
});

test('values far larger than the buffer are written whole', () => {
  const large = 'é"x'.repeat(400_000);
  const bytes = BSON.serialize({ large, data: new Binary(Buffer.alloc(1_000_001, 7)) });
  const parsed = JSON.parse(jsonOf(bytes).text);
  expect(parsed.large).toBe(large);
  expect(bsonOf(parsed).equals(Buffer.from(bytes))).toBe(true);
});

test('a type that BSON does not have is refused', () => {
  expect(() => jsonOf(document([Buffer.from('\x42a\0', 'latin1')]))).toThrow(
    expect.objectContaining({ code: 'AUD_MONGO_PROTOCOL' }),
  );
});

function fields(entries: readonly (readonly [string, number])[]): Buffer {
  return document(
    entries.map(([key, value]) => {
      const bytes = Buffer.alloc(key.length + 6);
      bytes[0] = 0x10;
      bytes.write(key, 1, 'latin1');
      bytes.writeInt32LE(value, key.length + 2);
      return bytes;
    }),
  );
}

function document(elements: readonly Buffer[]): Buffer {
  const body = Buffer.concat([...elements, Buffer.from([0])]);
  const size = Buffer.alloc(4);
  size.writeInt32LE(body.length + 4);
  return Buffer.concat([size, body]);
}
