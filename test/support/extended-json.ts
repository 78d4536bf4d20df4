// The reader's side of the mapping of connectors/mongodb/bson/json.ts: a record's JSON back to BSON bytes. Written from the
// description of the form, not from the writer, so that both cannot be wrong in the same way.
import { Decimal128 } from 'mongodb';

type Json = unknown;
type Fields = Record<string, Json>;

/** The BSON bytes of a document that stands in a record as JSON. */
export function bsonOf(document: Json): Buffer {
  const [type, bytes] = encode(document);
  if (type !== 0x03) throw new Error('not a document');
  return bytes;
}

function encode(value: Json): [number, Buffer] {
  if (value === null) return [0x0a, Buffer.alloc(0)];
  if (typeof value === 'boolean') return [0x08, Buffer.from([value ? 1 : 0])];
  if (typeof value === 'string') return [0x02, lengthAndText(value)];
  if (typeof value === 'number') return Number.isInteger(value) ? [0x10, int32(value)] : [0x01, double(value)];
  if (Array.isArray(value)) return [0x04, pairs(value.map((item, index) => [String(index), item]))];
  const fields = value as Fields;
  const keys = Object.keys(fields);
  if (keys[0]?.startsWith('$')) return wrapped(keys[0], fields);
  return [0x03, pairs(Object.entries(fields))];
}

function wrapped(key: string, fields: Fields): [number, Buffer] {
  const inner = fields[key];
  switch (key) {
    case '$literal':
      return [0x03, pairs(inner as [string, Json][])];
    case '$bson':
      return [(inner as { type: number }).type, Buffer.from((inner as { base64: string }).base64, 'base64')];
    case '$numberDouble':
      return [0x01, double(Number(inner))];
    case '$numberLong':
      return [0x12, int64(BigInt(inner as string))];
    case '$numberDecimal':
      return [0x13, Buffer.from(Decimal128.fromString(inner as string).bytes)];
    case '$oid':
      return [0x07, Buffer.from(inner as string, 'hex')];
    case '$date':
      return [
        0x09,
        typeof inner === 'string'
          ? int64(BigInt(Date.parse(inner)))
          : int64(BigInt((inner as Fields)['$numberLong'] as string)),
      ];
    case '$timestamp':
      return [0x11, Buffer.concat([uint32((inner as { i: number }).i), uint32((inner as { t: number }).t)])];
    case '$binary':
      return [0x05, binary(inner as { base64: string; subType: string })];
    case '$regularExpression': {
      const { pattern, options } = inner as { pattern: string; options: string };
      return [0x0b, Buffer.from(`${pattern}\0${options}\0`)];
    }
    case '$code':
      return '$scope' in fields
        ? codeWithScope(inner as string, fields['$scope'])
        : [0x0d, lengthAndText(inner as string)];
    case '$symbol':
      return [0x0e, lengthAndText(inner as string)];
    case '$dbPointer': {
      const pointer = inner as { $ref: string; $id: { $oid: string } };
      return [0x0c, Buffer.concat([lengthAndText(pointer.$ref), Buffer.from(pointer.$id.$oid, 'hex')])];
    }
    case '$minKey':
      return [0xff, Buffer.alloc(0)];
    case '$maxKey':
      return [0x7f, Buffer.alloc(0)];
    case '$undefined':
      return [0x06, Buffer.alloc(0)];
    default:
      throw new Error(`an unknown wrapper: ${key}`);
  }
}

function pairs(entries: readonly (readonly [string, Json])[]): Buffer {
  const parts: Buffer[] = [];
  for (const [key, value] of entries) {
    const [type, bytes] = encode(value);
    parts.push(Buffer.from([type]), Buffer.from(`${key}\0`), bytes);
  }
  return sized(Buffer.concat([...parts, Buffer.from([0])]));
}

function codeWithScope(code: string, scope: Json): [number, Buffer] {
  return [0x0f, sized(Buffer.concat([lengthAndText(code), bsonOf(scope)]))];
}

function binary(value: { base64: string; subType: string }): Buffer {
  const subType = Number.parseInt(value.subType, 16);
  const bytes = Buffer.from(value.base64, 'base64');
  const payload = subType === 2 ? Buffer.concat([int32(bytes.length), bytes]) : bytes;
  return Buffer.concat([int32(payload.length), Buffer.from([subType]), payload]);
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([int32(bytes.length + 4), bytes]);
}

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([int32(bytes.length + 1), bytes, Buffer.from([0])]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}
