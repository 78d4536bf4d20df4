// One value's text, as the server sent it, written as JSON. Values longer than a piece go through the writer's piecewise
// calls, so that a 100 MB value needs no second copy of itself.
import type { ByteWriter } from '../../../src/record/byte-writer.ts';
import { FORM, type TypeForm } from '../types.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

/** Writes `b[start, end)`, the text of a value of the given form, as a JSON value. */
export function writeValue(out: ByteWriter, form: TypeForm, b: Uint8Array, start: number, end: number): void {
  switch (form.form) {
    case FORM.INTEGER:
    case FORM.JSONB:
      out.range(b, start, end);
      return;
    case FORM.FLOAT:
      if (startsWithDigit(b, start)) out.range(b, start, end);
      else quoted(out, b, start, end);
      return;
    case FORM.BOOLEAN:
      out.bytes(b[start] === 0x74 ? TRUE : FALSE);
      return;
    case FORM.JSON:
      writeJson(out, b, start, end);
      return;
    case FORM.PLAIN:
      quoted(out, b, start, end);
      return;
    case FORM.TIMESTAMP:
    case FORM.TIMESTAMPTZ:
      writeTimestamp(out, form.form === FORM.TIMESTAMPTZ, b, start, end);
      return;
    case FORM.ARRAY:
      writeArray(out, form, b, start, end);
      return;
    case FORM.BYTE:
      writeByte(out, b, start, end);
      return;
    default:
      out.string(b, start, end);
  }
}

/** NaN, Infinity and -Infinity are the only texts of a float that do not start with a digit behind the sign. */
export function startsWithDigit(b: Uint8Array, start: number): boolean {
  const first = b[start] === 0x2d ? b[start + 1]! : b[start]!;
  return first <= 0x39;
}

function quoted(out: ByteWriter, b: Uint8Array, start: number, end: number): void {
  out.byte(QUOTE);
  out.range(b, start, end);
  out.byte(QUOTE);
}

/** A line feed in JSON text can only stand between tokens: the server refuses raw control characters in strings. */
function writeJson(out: ByteWriter, b: Uint8Array, start: number, end: number): void {
  let from = start;
  for (let i = start; i < end; i++) {
    if (b[i]! >= 0x20) continue;
    out.range(b, from, i);
    out.byte(0x20);
    from = i + 1;
  }
  out.range(b, from, end);
}

/**
 * ISO 8601 for what ISO 8601 can say. `infinity`, years before 1 (BC) and years of more than four digits stay as the server
 * writes them.
 */
export function writeTimestamp(out: ByteWriter, zone: boolean, b: Uint8Array, start: number, end: number): void {
  if (!hasIsoForm(b, start, end)) {
    quoted(out, b, start, end);
    return;
  }
  out.byte(QUOTE);
  out.range(b, start, start + 10);
  out.byte(0x54);
  if (zone && isUtc(b, end)) {
    out.range(b, start + 11, end - 3);
    out.byte(0x5a);
  } else {
    out.range(b, start + 11, end);
  }
  out.byte(QUOTE);
}

/** True of a timestamp's text that ISO 8601 can say. */
export function hasIsoForm(b: Uint8Array, start: number, end: number): boolean {
  return end - start >= 19 && b[start + 10] === 0x20 && b[end - 1] !== 0x43;
}

/** True when the text that ends at `end` has the offset `+00`. */
export function isUtc(b: Uint8Array, end: number): boolean {
  return b[end - 3] === 0x2b && b[end - 2] === 0x30 && b[end - 1] === 0x30;
}

/** Until version 15 the server sends a byte above 0x7f as it is, which is not UTF-8: it is written as later ones do, in octal. */
function writeByte(out: ByteWriter, b: Uint8Array, start: number, end: number): void {
  const byte = b[start]!;
  if (end - start !== 1 || byte < 0x80) out.string(b, start, end);
  else out.ascii(`"\\\\${byte.toString(8)}"`);
}

/**
 * An array's text (`{1,2,NULL}`, `{{"a b",c},{d,e}}`) as a JSON array. One with its own lower bounds (`[0:1]={…}`) has no
 * JSON form and stays text.
 * @see https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
 */
function writeArray(out: ByteWriter, form: TypeForm, b: Uint8Array, start: number, end: number): void {
  if (b[start] !== OPEN) {
    out.string(b, start, end);
    return;
  }
  const element = form.element!;
  const delimiter = form.delimiter!;
  for (let i = start; i < end; ) {
    const byte = b[i]!;
    if (byte === OPEN || byte === CLOSE) {
      out.byte(byte === OPEN ? 0x5b : 0x5d);
      i++;
    } else if (byte === delimiter) {
      out.byte(0x2c);
      i++;
    } else if (byte === QUOTE) {
      i = quotedElement(out, element, b, i + 1);
    } else {
      let stop = i;
      while (stop < end && b[stop] !== delimiter && b[stop] !== CLOSE) stop++;
      if (isNull(b, i, stop)) out.bytes(NULL);
      else writeValue(out, element, b, i, stop);
      i = stop;
    }
  }
}

/** An unquoted NULL, in any case, is the null element; the text NULL is always quoted. */
function isNull(b: Uint8Array, start: number, end: number): boolean {
  return (
    end - start === 4 &&
    Buffer.from(b.buffer, b.byteOffset + start, 4)
      .toString('latin1')
      .toUpperCase() === 'NULL'
  );
}

/** Writes the element whose text starts behind a quote, and returns the place behind its closing quote. */
function quotedElement(out: ByteWriter, element: TypeForm, b: Uint8Array, start: number): number {
  let stop = start;
  let escaped = 0;
  while (b[stop] !== QUOTE) {
    if (b[stop] === BACKSLASH) {
      stop++;
      escaped++;
    }
    stop++;
  }
  if (escaped === 0) {
    writeValue(out, element, b, start, stop);
    return stop + 1;
  }
  const text = Buffer.allocUnsafe(stop - start - escaped);
  for (let i = start, n = 0; i < stop; i++) {
    if (b[i] === BACKSLASH) i++;
    text[n++] = b[i]!;
  }
  writeValue(out, element, text, 0, text.length);
  return stop + 1;
}
