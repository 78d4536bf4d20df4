// Values that need more than copying to become JSON: numbers and times.
import { Decimal128 } from 'mongodb';
import { int32, uint32 } from './layout.ts';

const DAY_MS = 86_400_000;
/** Dates outside of 1970 to 9999 have no relaxed form in Extended JSON. */
const LAST_ISO_MS = 253_402_300_799_999;
/** `2025-01-02T03:04:05.006Z`. */
export const ISO_BYTES = 24;
const TEE = 0x54;
const COLON = 0x3a;
const ZERO = 0x30;
const ZULU = 0x5a;

/**
 * Writes `2025-01-02T03:04:05.006Z` where 24 bytes are free; false when Extended JSON writes the date as a number. By
 * arithmetic: the dates of a document are seldom near each other, so no text of one helps with the next (bench/w2.ts).
 */
export function writeIso(ms: number, out: Buffer, pos: number): boolean {
  if (!(ms >= 0 && ms <= LAST_ISO_MS)) return false;
  const day = Math.floor(ms / DAY_MS);
  const rest = ms - day * DAY_MS;
  writeDay(day, out, pos);
  const hours = (rest / 3_600_000) | 0;
  const minutes = ((rest / 60_000) | 0) - hours * 60;
  const seconds = ((rest / 1000) | 0) - (hours * 60 + minutes) * 60;
  const millis = (rest % 1000) | 0;
  const hundreds = (millis / 100) | 0;
  out[pos + 10] = TEE;
  writePair(hours, out, pos + 11);
  out[pos + 13] = COLON;
  writePair(minutes, out, pos + 14);
  out[pos + 16] = COLON;
  writePair(seconds, out, pos + 17);
  out[pos + 19] = DOT;
  out[pos + 20] = ZERO + hundreds;
  writePair(millis - hundreds * 100, out, pos + 21);
  out[pos + 23] = ZULU;
  return true;
}

/** Days of 400 years, in which the calendar repeats. */
const ERA_DAYS = 146_097;
/** From 0000-03-01, the first day of an era whose years begin in March and so end with the leap day, to 1970. */
const DAYS_TO_1970 = 719_468;

/** Writes `2025-01-02` of a day since 1970. The arithmetic is that of https://howardhinnant.github.io/date_algorithms.html */
function writeDay(day: number, out: Buffer, pos: number): void {
  const days = day + DAYS_TO_1970;
  const era = (days / ERA_DAYS) | 0;
  const ofEra = days - era * ERA_DAYS;
  const yearOfEra = ((ofEra - ((ofEra / 1460) | 0) + ((ofEra / 36_524) | 0) - ((ofEra / 146_096) | 0)) / 365) | 0;
  const ofYear = ofEra - (365 * yearOfEra + (yearOfEra >> 2) - ((yearOfEra / 100) | 0));
  const fromMarch = ((5 * ofYear + 2) / 153) | 0;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0);
  const century = (year / 100) | 0;
  writePair(century, out, pos);
  writePair(year - century * 100, out, pos + 2);
  out[pos + 4] = MINUS;
  writePair(month, out, pos + 5);
  out[pos + 7] = MINUS;
  writePair(ofYear - (((153 * fromMarch + 2) / 5) | 0) + 1, out, pos + 8);
}

/** The digits of 00 to 99, two bytes each. */
const PAIRS = Buffer.from(Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0')).join(''), 'latin1');

function writePair(value: number, out: Buffer, pos: number): void {
  out[pos] = PAIRS[2 * value]!;
  out[pos + 1] = PAIRS[2 * value + 1]!;
}

/**
 * A double as JSON text. A number stays a number where a reader of Extended JSON gets the same double back; whole numbers
 * would come back as int32 or int64, so they are wrapped. Null for a NaN with a payload.
 */
export function doubleText(b: Buffer, p: number): string | null {
  const value = b.readDoubleLE(p);
  if (Number.isInteger(value)) {
    const text = Object.is(value, -0) ? '-0.0' : value.toFixed(1);
    return `{"$numberDouble":"${text}"}`;
  }
  if (Number.isFinite(value)) return String(value);
  if (!Number.isNaN(value)) return `{"$numberDouble":"${value > 0 ? '' : '-'}Infinity"}`;
  const plain = int32(b, p) === 0 && uint32(b, p + 4) === 0x7ff80000;
  return plain ? '{"$numberDouble":"NaN"}' : null;
}

const EXPONENT_BIAS = 6176;

/** Digits of the largest amount that is a safe integer. */
const AMOUNT_DIGITS = 9_007_199_254_740_991;
const MOST_DECIMALS = 6;

/**
 * Writes an amount as people write them, at most 53 bits of digits and zero to six decimals, at `pos` of `out`, where 24
 * bytes are free. Returns where it ends, or 0 when the value is not of that kind.
 */
export function writeAmount(b: Uint8Array, p: number, out: Buffer, pos: number): number {
  const high = int32(b, p + 12);
  const decimals = EXPONENT_BIAS - ((high >>> 17) & 0x3fff);
  const small = (high & 0x1ffff) === 0 && int32(b, p + 8) === 0 && int32(b, p + 4) >>> 21 === 0;
  if (!small || decimals < 0 || decimals > MOST_DECIMALS || ((high >>> 29) & 3) === 3) return 0;
  const digits = uint32(b, p + 4) * TWO_32 + uint32(b, p);
  if (digits > AMOUNT_DIGITS) return 0;
  if (high < 0) out[pos++] = MINUS;
  const unit = POWERS[decimals]!;
  const whole = Math.floor(digits / unit);
  let end = writeDigits(whole, countDigits(whole), out, pos);
  if (decimals === 0) return end;
  out[end++] = DOT;
  return writeDigits(digits - whole * unit, decimals, out, end);
}

const TWO_32 = 4294967296;
const MINUS = 0x2d;
const DOT = 0x2e;
const POWERS = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];

/** Writes a safe integer, with its sign, where 17 bytes are free; returns where it ends. */
export function writeInteger(value: number, out: Buffer, pos: number): number {
  if (value < 0) {
    out[pos] = MINUS;
    return writeDigits(-value, countDigits(-value), out, pos + 1);
  }
  return writeDigits(value, countDigits(value), out, pos);
}

function countDigits(value: number): number {
  let count = 1;
  for (let bound = 10; value >= bound; bound *= 10) count++;
  return count;
}

function writeDigits(value: number, count: number, out: Buffer, pos: number): number {
  let rest = value;
  let at = pos + count;
  // Double division only while it must be.
  while (rest > 0x7fffffff) {
    const hundredth = Math.floor(rest / 100);
    at -= 2;
    writePair(rest - hundredth * 100, out, at);
    rest = hundredth;
  }
  while (at - pos >= 2) {
    const hundredth = (rest / 100) | 0;
    at -= 2;
    writePair(rest - hundredth * 100, out, at);
    rest = hundredth;
  }
  if (at > pos) out[pos] = ZERO + rest;
  return pos + count;
}

/** A Decimal128's text, or null when the text would not bring back the same 16 bytes. */
export function decimalText(b: Buffer, p: number): string | null {
  const bytes = Buffer.from(b.subarray(p, p + 16));
  try {
    const text = new Decimal128(bytes).toString();
    return bytes.equals(Decimal128.fromString(text).bytes) ? text : null;
  } catch {
    // Digits beyond 34 have no text that is taken back: the value is then kept as bytes.
    return null;
  }
}

const BASE64 = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PADDING = 0x3d;

/** Writes `b[start, end)` as base64 with padding where there is room for it; returns where it ends. */
export function writeBase64(b: Uint8Array, start: number, end: number, out: Buffer, pos: number): number {
  let p = start;
  for (; p + 3 <= end; p += 3) {
    const bits = (b[p]! << 16) | (b[p + 1]! << 8) | b[p + 2]!;
    out[pos++] = BASE64[bits >> 18]!;
    out[pos++] = BASE64[(bits >> 12) & 63]!;
    out[pos++] = BASE64[(bits >> 6) & 63]!;
    out[pos++] = BASE64[bits & 63]!;
  }
  if (p === end) return pos;
  const two = p + 2 === end;
  const bits = (b[p]! << 16) | (two ? b[p + 1]! << 8 : 0);
  out[pos++] = BASE64[bits >> 18]!;
  out[pos++] = BASE64[(bits >> 12) & 63]!;
  out[pos++] = two ? BASE64[(bits >> 6) & 63]! : PADDING;
  out[pos++] = PADDING;
  return pos;
}
