// Random BSON documents for property tests, as bytes: every type, odd keys, and values that drivers never write.
import fc from 'fast-check';

/** A key without NUL: plain, empty, with dots and dollars, like an array index, beyond ASCII. */
const key = fc.oneof(
  { weight: 6, arbitrary: fc.string({ maxLength: 12 }).map(withoutNul) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '',
      '_id',
      'a.b',
      '$oid',
      '$date',
      '$literal',
      '$numberLong',
      '__proto__',
      'constructor',
      'length',
    ),
  },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 5_000_000_000 }).map(String) },
  { weight: 1, arbitrary: fc.constantFrom('0', '1', '01', '-1', '4294967294', '4294967295', '4294967296') },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }).map(withoutNul) },
);

function withoutNul(value: string): string {
  return value.replaceAll('\0', '').toWellFormed();
}

type Value = readonly [type: number, bytes: Buffer];

const sized = (body: Buffer): Buffer => Buffer.concat([int32(body.length + 4), body]);
const text = (value: string): Buffer => Buffer.concat([int32(Buffer.byteLength(value) + 1), Buffer.from(`${value}\0`)]);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};

const anyText = fc
  .oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), fc.string())
  .map((value) => value.toWellFormed());
const raw = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes));

const double = fc
  .oneof(
    fc.double(),
    fc.integer(),
    fc.constantFrom(
      0,
      -0,
      5,
      1e21,
      1e300,
      5e-324,
      2 ** 53,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ),
  )
  .map((value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    return bytes;
  });

const date = fc
  .oneof(
    fc.date({ noInvalidDate: true }).map((value) => BigInt(value.getTime())),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  )
  .map(long);

function long(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
}

const oldBinary = fc
  .uint8Array({ maxLength: 20 })
  .map((bytes) => Buffer.concat([int32(bytes.length + 4), Buffer.from([2]), int32(bytes.length), bytes]));
/** Not 7, a compressed column: the server takes only what it could have made itself. */
const subType = fc.integer({ min: 0, max: 255 }).filter((type) => type !== 7);
const binary = fc
  .tuple(fc.uint8Array({ maxLength: 40 }), subType)
  .map(([bytes, type]) => Buffer.concat([int32(bytes.length), Buffer.from([type]), bytes]));
const regex = fc
  .tuple(anyText.map(withoutNul), fc.constantFrom('', 'i', 'imsx'))
  .map(([pattern, options]) => Buffer.from(`${pattern}\0${options}\0`));

const { value: anyValue, document } = fc.letrec<{ value: Value; document: Buffer; array: Buffer }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    anyText.map((t): Value => [0x02, text(t)]),
    fc.integer().map((n): Value => [0x10, int32(n)]),
    double.map((b): Value => [0x01, b]),
    fc.boolean().map((b): Value => [0x08, Buffer.from([b ? 1 : 0])]),
    fc.constantFrom(0x0a, 0xff, 0x7f, 0x06).map((type): Value => [type, Buffer.alloc(0)]),
    date.map((b): Value => [0x09, b]),
    fc
      .oneof(
        raw(8),
        fc.integer().map((n) => long(BigInt(n))),
      )
      .map((b): Value => [0x12, b]),
    raw(8).map((b): Value => [0x11, b]),
    raw(8).map((b): Value => [0x01, b]),
    raw(12).map((b): Value => [0x07, b]),
    raw(16).map((b): Value => [0x13, b]),
    fc
      .tuple(fc.integer({ min: 0, max: 99_999_999 }), fc.integer({ min: -6, max: 2 }))
      .map(([n, e]): Value => [0x13, amount(n, e)]),
    fc.oneof(binary, oldBinary).map((b): Value => [0x05, b]),
    regex.map((b): Value => [0x0b, b]),
    anyText.map((t): Value => [0x0d, text(t)]),
    anyText.map((t): Value => [0x0e, text(t)]),
    fc.tuple(anyText, raw(12)).map(([t, id]): Value => [0x0c, Buffer.concat([text(t), id])]),
    fc.tuple(anyText, tie('document')).map(([t, scope]): Value => [0x0f, sized(Buffer.concat([text(t), scope]))]),
    tie('document').map((b): Value => [0x03, b]),
    tie('array').map((b): Value => [0x04, b]),
  ),
  document: fc.array(fc.tuple(key, tie('value')), { maxLength: 8 }).map(documentOf),
  array: fc
    .array(tie('value'), { maxLength: 12 })
    .map((values) => documentOf(values.map((value, index) => [String(index), value]))),
}));

function amount(digits: number, exponent: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(digits);
  bytes.writeUInt32LE((exponent + 6176) << 17, 12);
  return bytes;
}

function documentOf(entries: readonly (readonly [string, Value])[]): Buffer {
  const parts = entries.flatMap(([name, [type, bytes]]) => [Buffer.from([type]), Buffer.from(`${name}\0`), bytes]);
  return sized(Buffer.concat([...parts, Buffer.from([0])]));
}

/** Documents of up to eight fields, nested, with duplicate and misleading keys. */
export const bsonDocument: fc.Arbitrary<Buffer> = document;
export const bsonValue: fc.Arbitrary<Value> = anyValue;
