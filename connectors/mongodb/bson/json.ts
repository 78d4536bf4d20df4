// BSON bytes to JSON bytes: Extended JSON v2 that gives the same BSON back. No object a value.
import { isUtf8 } from 'node:buffer';
import { type ByteWriter, fragment, toValidUtf8 } from '../../../src/record/byte-writer.ts';
import { hasArrayKeys, hasPlainKeys } from './keys.ts';
import {
  BSON,
  cStringEnd,
  type Element,
  int32,
  int64AsNumber,
  malformed,
  newElement,
  readElement,
  uint32,
  valueSize,
} from './layout.ts';
import { decimalText, doubleText, ISO_BYTES, writeAmount, writeBase64, writeInteger, writeIso } from './scalars.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const DOLLAR = 0x24;
const ZERO = 0x30;
const NINE = 0x39;

/** 1: must be escaped in JSON; 2: part of a character beyond ASCII. */
const KIND = new Uint8Array(256);
KIND.fill(1, 0, 0x20);
KIND.fill(2, 0x80);
KIND[QUOTE] = 1;
KIND[BACKSLASH] = 1;

/** Room for any value of fixed size, with its wrapper. */
const FIXED_BYTES = 128;
/** A text up to this long is checked and copied in one loop. */
const SHORT_TEXT_BYTES = 1 << 12;
/** A UUID or a hash: base64 by a loop, which fits into `FIXED_BYTES`. */
const SHORT_BINARY_BYTES = 64;
/** Base64 is written in pieces of this many bytes, a multiple of three. */
const BASE64_PIECE = 48 * 1024;
/** Keys of one document are told apart by a hash of this many bits; a collision only costs a second, exact pass. */
const HASH_BITS = 14;

const HEX = Buffer.from('0123456789abcdef');
const NULL = fragment('null');
const TRUE = fragment('true');
const FALSE = fragment('false');
const OID = fragment('{"$oid":"');
const DATE = fragment('{"$date":"');
const DATE_NUMBER = fragment('{"$date":{"$numberLong":"');
const LONG = fragment('{"$numberLong":"');
const DECIMAL = fragment('{"$numberDecimal":"');
const BINARY = fragment('{"$binary":{"base64":"');
const SUB_TYPE = fragment('","subType":"');
const END_STRING = fragment('"}');
const END_STRING_2 = fragment('"}}');
const LITERAL = fragment('{"$literal":[');
const END_LITERAL = fragment(']}');

/**
 * Writes BSON values as JSON. Lossless: every value comes back as the same BSON bytes, except text that is not UTF-8.
 *
 * - int32 and doubles with a fraction are numbers; other numbers, dates, ids, binary data and the rest are wrapped as in
 *   Extended JSON v2 (dates of the years 1970 to 9999 as ISO text).
 * - A document that JSON cannot hold as an object (see `hasPlainKeys`) is `{"$literal":[[key,value],…]}`.
 * - A value that has no text form at all (a NaN with a payload, an array with wrong keys) is `{"$bson":{"type":1,"base64":"…"}}`.
 *
 * The fast walk notices what may need one of the last two and sets `odd`; the record is then taken back and written again
 * with `exact` on.
 */
export class BsonJson {
  /** Checks each document's keys before it is written. */
  exact = false;
  /** Set when something was seen that only the exact walk writes right. */
  odd = false;
  /** Set when a text was not valid UTF-8 and was written with replacement characters. */
  brokenText = false;
  #out: ByteWriter;
  /** By depth: which walk last saw a key of this hash. */
  readonly #seen: Uint32Array[] = [];
  #walk = 0;
  #depth = 0;

  constructor(out: ByteWriter) {
    this.#out = out;
  }

  /** Starts a record: forgets what was seen before. */
  begin(out: ByteWriter, exact: boolean): void {
    this.#out = out;
    this.exact = exact;
    this.odd = false;
    this.brokenText = false;
    this.#depth = 0;
  }

  /** Writes the document at `p`. `skipId` leaves a first-level `_id` out. */
  document(b: Buffer, p: number, skipId = false): void {
    if (this.exact && !hasPlainKeys(b, p)) {
      this.#literal(b, p);
      return;
    }
    const out = this.#out;
    const seen = this.#enter();
    const walk = this.#walk;
    out.byte(0x7b);
    let first = true;
    let at = p + 4;
    for (let type = b[at]!; type !== 0; type = b[at]!) {
      const keyStart = at + 1;
      if (skipId && isId(b, keyStart)) {
        at = keyStart + 4 + valueSize(b, type, keyStart + 4);
        continue;
      }
      const keyEnd = this.#key(b, keyStart, first, seen, walk);
      first = false;
      at = this.value(b, type, keyEnd + 1);
    }
    this.#depth--;
    out.byte(0x7d);
  }

  /** Writes the array at `p`. */
  array(b: Buffer, p: number): void {
    if (this.exact && !hasArrayKeys(b, p)) {
      this.#bytes(b, BSON.ARRAY, p, p + int32(b, p));
      return;
    }
    const out = this.#out;
    out.byte(0x5b);
    let index = 0;
    let at = p + 4;
    for (let type = b[at]!; type !== 0; type = b[at]!) {
      const keyStart = at + 1;
      at = keyStart;
      let key = 0;
      for (let c = b[at++]!; c !== 0; c = b[at++]!) key = key * 10 + c - ZERO;
      if (key !== index || (b[keyStart] === ZERO && at !== keyStart + 2) || at === keyStart + 1) this.odd = true;
      if (index++ > 0) out.byte(COMMA);
      out.ensure(FIXED_BYTES);
      at = this.value(b, type, at);
    }
    out.byte(0x5d);
  }

  /** Writes the value of the given type at `p` and returns where it ends. */
  value(b: Buffer, type: number, p: number): number {
    const out = this.#out;
    switch (type) {
      case BSON.STRING: {
        const end = p + 4 + int32(b, p);
        this.text(b, p + 4, end - 1);
        return end;
      }
      case BSON.DOCUMENT:
        this.document(b, p);
        return p + int32(b, p);
      case BSON.ARRAY:
        this.array(b, p);
        return p + int32(b, p);
      case BSON.INT32:
        this.#integer(int32(b, p));
        return p + 4;
      case BSON.BOOLEAN:
        if (b[p]! > 1) this.#bytes(b, type, p, p + 1);
        else out.bytes(b[p] === 1 ? TRUE : FALSE);
        return p + 1;
      case BSON.NULL:
        out.bytes(NULL);
        return p;
      case BSON.DATE:
        this.#date(int64AsNumber(b, p), b, p);
        return p + 8;
      case BSON.OBJECT_ID:
        out.bytes(OID);
        this.#hex(b, p, p + 12);
        out.bytes(END_STRING);
        return p + 12;
      case BSON.INT64:
        out.bytes(LONG);
        this.#int64(b, p);
        out.bytes(END_STRING);
        return p + 8;
      case BSON.DOUBLE: {
        const number = doubleText(b, p);
        if (number === null) this.#bytes(b, type, p, p + 8);
        else out.ascii(number);
        return p + 8;
      }
      case BSON.DECIMAL128:
        this.#decimal(b, p);
        return p + 16;
      case BSON.BINARY:
        return this.#binary(b, p);
      default:
        return this.#rare(b, type, p);
    }
  }

  /** Writes text as a JSON string; bytes that are not UTF-8 become U+FFFD, and `brokenText` is set. */
  text(b: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length > SHORT_TEXT_BYTES) {
      this.#longText(b, start, end);
      return;
    }
    const out = this.#out;
    out.ensure(length + 2);
    const buf = out.buf;
    const from = out.pos;
    let pos = from;
    let kinds = 0;
    buf[pos++] = QUOTE;
    for (let p = start; p < end; p++) {
      const c = b[p]!;
      kinds |= KIND[c]!;
      buf[pos++] = c;
    }
    if ((kinds & 2) !== 0 && !isUtf8(b.subarray(start, end))) {
      this.#broken(b, start, end);
    } else if ((kinds & 1) !== 0) {
      out.string(b, start, end);
    } else {
      buf[pos++] = QUOTE;
      out.pos = pos;
    }
  }

  #longText(b: Buffer, start: number, end: number): void {
    if (isUtf8(b.subarray(start, end))) this.#out.string(b, start, end);
    else this.#broken(b, start, end);
  }

  #broken(b: Buffer, start: number, end: number): void {
    this.brokenText = true;
    const repaired = toValidUtf8(b.subarray(start, end));
    this.#out.string(repaired, 0, repaired.length);
  }

  /** Starts a document: the table of keys seen at this depth, and a new number for this walk. */
  #enter(): Uint32Array {
    const depth = this.#depth++;
    this.#seen[depth] ??= new Uint32Array(1 << HASH_BITS);
    if (this.#walk === 0xffffffff) {
      for (const table of this.#seen) table.fill(0);
      this.#walk = 0;
    }
    this.#walk++;
    return this.#seen[depth]!;
  }

  /** Writes `,"key":` with room for a fixed value behind it; returns where the key ends. */
  #key(b: Buffer, start: number, first: boolean, seen: Uint32Array, walk: number): number {
    let kinds = 0;
    let hash = 0;
    let end = start;
    for (let c = b[end]!; c !== 0; c = b[++end]!) {
      kinds |= KIND[c]!;
      hash = (Math.imul(hash, 31) + c) | 0;
    }
    const slot = (hash ^ (hash >>> HASH_BITS)) & ((1 << HASH_BITS) - 1);
    const head = b[start]!;
    if (seen[slot] === walk || head === DOLLAR || (head >= ZERO && head <= NINE)) this.odd = true;
    seen[slot] = walk;
    const out = this.#out;
    if (!first) out.byte(COMMA);
    if (kinds !== 0 || end - start > SHORT_TEXT_BYTES) {
      this.text(b, start, end);
      out.byte(COLON);
      out.ensure(FIXED_BYTES);
      return end;
    }
    out.ensure(end - start + 3 + FIXED_BYTES);
    const buf = out.buf;
    let pos = out.pos;
    buf[pos++] = QUOTE;
    for (let p = start; p < end; p++) buf[pos++] = b[p]!;
    buf[pos++] = QUOTE;
    buf[pos++] = COLON;
    out.pos = pos;
    return end;
  }

  /** Room is there: `#key` and `array` leave it. */
  #integer(value: number): void {
    const out = this.#out;
    out.pos = writeInteger(value, out.buf, out.pos);
  }

  #int64(b: Buffer, p: number): void {
    const out = this.#out;
    const value = int64AsNumber(b, p);
    out.ensure(FIXED_BYTES);
    if (Number.isSafeInteger(value)) out.pos = writeInteger(value, out.buf, out.pos);
    else out.ascii(String(b.readBigInt64LE(p)));
  }

  #date(ms: number, b: Buffer, p: number): void {
    const out = this.#out;
    out.ensure(FIXED_BYTES);
    if (!writeIso(ms, out.buf, out.pos + DATE.length)) {
      out.bytes(DATE_NUMBER);
      this.#int64(b, p);
      out.bytes(END_STRING_2);
      return;
    }
    out.bytes(DATE);
    out.pos += ISO_BYTES;
    out.bytes(END_STRING);
  }

  #decimal(b: Buffer, p: number): void {
    const out = this.#out;
    out.ensure(FIXED_BYTES);
    const start = out.pos;
    out.bytes(DECIMAL);
    const end = writeAmount(b, p, out.buf, out.pos);
    if (end > 0) {
      out.pos = end;
      out.bytes(END_STRING);
      return;
    }
    out.pos = start;
    const decimal = decimalText(b, p);
    if (decimal === null) this.#bytes(b, BSON.DECIMAL128, p, p + 16);
    else out.ascii(`{"$numberDecimal":"${decimal}"}`);
  }

  #binary(b: Buffer, p: number): number {
    const out = this.#out;
    const length = int32(b, p);
    const subType = b[p + 4]!;
    const end = p + 5 + length;
    let start = p + 5;
    // The old binary type has its length a second time; Extended JSON leaves it out.
    if (subType === 2) {
      if (length < 4 || int32(b, start) !== length - 4) {
        this.#bytes(b, BSON.BINARY, p, end);
        return end;
      }
      start += 4;
    }
    out.bytes(BINARY);
    this.#base64(b, start, end);
    out.bytes(SUB_TYPE);
    out.ensure(2);
    out.buf[out.pos++] = HEX[subType >> 4]!;
    out.buf[out.pos++] = HEX[subType & 15]!;
    out.bytes(END_STRING_2);
    return end;
  }

  #base64(b: Buffer, start: number, end: number): void {
    if (end - start <= SHORT_BINARY_BYTES) {
      this.#out.ensure(FIXED_BYTES);
      this.#out.pos = writeBase64(b, start, end, this.#out.buf, this.#out.pos);
      return;
    }
    for (let at = start; at < end; at += BASE64_PIECE)
      this.#out.ascii(b.toString('base64', at, Math.min(end, at + BASE64_PIECE)));
  }

  #hex(b: Buffer, start: number, end: number): void {
    const out = this.#out;
    out.ensure((end - start) * 2);
    const buf = out.buf;
    let pos = out.pos;
    for (let p = start; p < end; p++) {
      const c = b[p]!;
      buf[pos++] = HEX[c >> 4]!;
      buf[pos++] = HEX[c & 15]!;
    }
    out.pos = pos;
  }

  #rare(b: Buffer, type: number, p: number): number {
    const out = this.#out;
    const end = p + valueSize(b, type, p);
    switch (type) {
      case BSON.TIMESTAMP:
        out.ascii(`{"$timestamp":{"t":${uint32(b, p + 4)},"i":${uint32(b, p)}}}`);
        break;
      case BSON.MIN_KEY:
        out.ascii('{"$minKey":1}');
        break;
      case BSON.MAX_KEY:
        out.ascii('{"$maxKey":1}');
        break;
      case BSON.UNDEFINED:
        out.ascii('{"$undefined":true}');
        break;
      case BSON.CODE:
        this.#wrapped('{"$code":', b, p + 4, end - 1, '}');
        break;
      case BSON.SYMBOL:
        this.#wrapped('{"$symbol":', b, p + 4, end - 1, '}');
        break;
      case BSON.CODE_WITH_SCOPE: {
        const scope = p + 8 + int32(b, p + 4);
        this.#wrapped('{"$code":', b, p + 8, scope - 1, ',"$scope":');
        this.document(b, scope);
        out.byte(0x7d);
        break;
      }
      case BSON.REGEX: {
        const options = cStringEnd(b, p) + 1;
        this.#wrapped('{"$regularExpression":{"pattern":', b, p, options - 1, ',"options":');
        this.text(b, options, end - 1);
        out.ascii('}}');
        break;
      }
      case BSON.DB_POINTER:
        this.#wrapped('{"$dbPointer":{"$ref":', b, p + 4, end - 13, ',"$id":{"$oid":"');
        this.#hex(b, end - 12, end);
        out.ascii('"}}}');
        break;
      default:
        throw malformed(type);
    }
    return end;
  }

  #wrapped(before: string, b: Buffer, start: number, end: number, after: string): void {
    this.#out.ascii(before);
    this.text(b, start, end);
    this.#out.ascii(after);
  }

  /** A document whose keys JSON objects cannot keep. */
  #literal(b: Buffer, p: number): void {
    const out = this.#out;
    const element: Element = newElement();
    out.bytes(LITERAL);
    let first = true;
    for (let at = p + 4; readElement(b, at, element); at = element.next) {
      out.ascii(first ? '[' : ',[');
      first = false;
      this.text(b, element.keyStart, element.keyEnd);
      out.byte(COMMA);
      out.ensure(FIXED_BYTES);
      this.value(b, element.type, element.at);
      out.byte(0x5d);
    }
    out.bytes(END_LITERAL);
  }

  /** A value without a text form: its type and bytes. */
  #bytes(b: Buffer, type: number, start: number, end: number): void {
    this.#out.ascii(`{"$bson":{"type":${type},"base64":"`);
    this.#base64(b, start, end);
    this.#out.bytes(END_STRING_2);
  }
}

function isId(b: Uint8Array, key: number): boolean {
  return b[key] === 0x5f && b[key + 1] === 0x69 && b[key + 2] === 0x64 && b[key + 3] === 0;
}
