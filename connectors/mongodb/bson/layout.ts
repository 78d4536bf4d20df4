// How BSON lies in memory: element types, sizes, and the few reads that everything else is made of.
// https://bsonspec.org/spec.html
import { AuditError } from '../../../src/errors/audit-error.ts';

/** Element types by their byte. */
export const BSON = {
  DOUBLE: 0x01,
  STRING: 0x02,
  DOCUMENT: 0x03,
  ARRAY: 0x04,
  BINARY: 0x05,
  UNDEFINED: 0x06,
  OBJECT_ID: 0x07,
  BOOLEAN: 0x08,
  DATE: 0x09,
  NULL: 0x0a,
  REGEX: 0x0b,
  DB_POINTER: 0x0c,
  CODE: 0x0d,
  SYMBOL: 0x0e,
  CODE_WITH_SCOPE: 0x0f,
  INT32: 0x10,
  TIMESTAMP: 0x11,
  INT64: 0x12,
  DECIMAL128: 0x13,
  MAX_KEY: 0x7f,
  MIN_KEY: 0xff,
} as const;

export function int32(b: Uint8Array, p: number): number {
  return b[p]! | (b[p + 1]! << 8) | (b[p + 2]! << 16) | (b[p + 3]! << 24);
}

export function uint32(b: Uint8Array, p: number): number {
  return int32(b, p) >>> 0;
}

const TWO_32 = 4294967296;

/** A 64-bit integer as a double: exact up to 2^53, enough for dates and counters. */
export function int64AsNumber(b: Uint8Array, p: number): number {
  return int32(b, p + 4) * TWO_32 + uint32(b, p);
}

/** The place of the NUL that ends a key or regular expression part. */
export function cStringEnd(b: Uint8Array, p: number): number {
  while (b[p] !== 0) {
    if (p >= b.length) throw malformed();
    p++;
  }
  return p;
}

/** Bytes that a value of the given type takes at `p`. @throws AUD_MONGO_PROTOCOL for a type that BSON does not have. */
export function valueSize(b: Uint8Array, type: number, p: number): number {
  switch (type) {
    case BSON.UNDEFINED:
    case BSON.NULL:
    case BSON.MAX_KEY:
    case BSON.MIN_KEY:
      return 0;
    case BSON.BOOLEAN:
      return 1;
    case BSON.INT32:
      return 4;
    case BSON.DOUBLE:
    case BSON.DATE:
    case BSON.TIMESTAMP:
    case BSON.INT64:
      return 8;
    case BSON.OBJECT_ID:
      return 12;
    case BSON.DECIMAL128:
      return 16;
    case BSON.DOCUMENT:
    case BSON.ARRAY:
    case BSON.CODE_WITH_SCOPE:
      return int32(b, p);
    case BSON.STRING:
    case BSON.CODE:
    case BSON.SYMBOL:
      return 4 + int32(b, p);
    case BSON.BINARY:
      return 5 + int32(b, p);
    case BSON.DB_POINTER:
      return 16 + int32(b, p);
    case BSON.REGEX:
      return cStringEnd(b, cStringEnd(b, p) + 1) + 1 - p;
    default:
      throw malformed(type);
  }
}

/** One element of a document, reused while walking. */
export interface Element {
  type: number;
  keyStart: number;
  keyEnd: number;
  /** Where the value starts. */
  at: number;
  /** Where the next element's type byte stands. */
  next: number;
}

export function newElement(): Element {
  return { type: 0, keyStart: 0, keyEnd: 0, at: 0, next: 0 };
}

/** Reads the element whose type byte stands at `p`; false at the document's end. Start at `document + 4`. */
export function readElement(b: Uint8Array, p: number, element: Element): boolean {
  const type = b[p]!;
  if (type === 0) return false;
  const keyEnd = cStringEnd(b, p + 1);
  element.type = type;
  element.keyStart = p + 1;
  element.keyEnd = keyEnd;
  element.at = keyEnd + 1;
  element.next = keyEnd + 1 + valueSize(b, type, keyEnd + 1);
  return true;
}

/** Key or text as a JavaScript string. */
export function text(b: Buffer, start: number, end: number): string {
  return b.toString('utf8', start, end);
}

/** The text of the string value at `p`. */
export function stringAt(b: Buffer, p: number): string {
  return b.toString('utf8', p + 4, p + 3 + int32(b, p));
}

/** Finds an element of the document at `p` by an ASCII name; for documents of the protocol, not for users' documents. */
export function findElement(b: Buffer, p: number, name: string): Element | null {
  const element = newElement();
  for (let at = p + 4; readElement(b, at, element); at = element.next) {
    if (isNamed(b, element.keyStart, element.keyEnd, name)) return element;
  }
  return null;
}

/** Tells the field names of a protocol apart by their length, first and last letter, without making strings of them. */
export function nameCode(name: string): number {
  return (name.length << 16) | (name.charCodeAt(0) << 8) | name.charCodeAt(name.length - 1);
}

/** The code of the key at `[start, end)`. */
export function nameCodeAt(b: Uint8Array, start: number, end: number): number {
  return ((end - start) << 16) | (b[start]! << 8) | b[end - 1]!;
}

/** Compares the key at `[start, end)` with an ASCII name without making a string of it. */
export function isNamed(b: Uint8Array, start: number, end: number, name: string): boolean {
  if (end - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (b[start + i] !== name.charCodeAt(i)) return false;
  return true;
}

export function malformed(type?: number): AuditError {
  return new AuditError('AUD_MONGO_PROTOCOL', {
    message:
      type === undefined
        ? 'The server sent a document that ends too early.'
        : `The server sent a value of the unknown BSON type ${type}.`,
    action: 'Report the server’s version; update changetrail.',
    retry: 'after_operator',
  });
}
