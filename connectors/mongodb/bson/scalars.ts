// Values that need more than copying to become JSON: numbers and times.
import { Decimal128 } from 'mongodb';
import { int32, int64AsNumber, uint32 } from './layout.ts';

const DAY_MS = 86_400_000;
/** Dates outside of 1970 to 9999 have no relaxed form in Extended JSON. */
const LAST_ISO_MS = 253_402_300_799_999;

/** The ISO text of a date by milliseconds, or null when Extended JSON writes it as a number. The day is kept. */
export class IsoText {
  #day = Number.NaN;
  #dayText = '';

  of(ms: number): string | null {
    if (!(ms >= 0 && ms <= LAST_ISO_MS)) return null;
    const day = Math.floor(ms / DAY_MS);
    if (day !== this.#day) {
      this.#day = day;
      this.#dayText = new Date(day * DAY_MS).toISOString().slice(0, 11);
    }
    const rest = ms - day * DAY_MS;
    const minutes = Math.floor(rest / 60_000);
    const inMinute = rest - minutes * 60_000;
    return (
      this.#dayText +
      TWO[Math.floor(minutes / 60)]! +
      ':' +
      TWO[minutes % 60]! +
      ':' +
      TWO[Math.floor(inMinute / 1000)]! +
      MILLIS[inMinute % 1000]!
    );
  }
}

const TWO = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, '0'));
const MILLIS = Array.from({ length: 1000 }, (_, n) => `.${String(n).padStart(3, '0')}Z`);

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

export function int64Text(b: Buffer, p: number): string {
  const value = int64AsNumber(b, p);
  return Number.isSafeInteger(value) ? String(value) : String(b.readBigInt64LE(p));
}

const EXPONENT_BIAS = 6176;

/** A Decimal128's text, or null when the text would not bring back the same 16 bytes. */
export function decimalText(b: Buffer, p: number): string | null {
  return smallDecimal(b, p) ?? anyDecimal(b, p);
}

/** Amounts as people write them: at most 53 bits of digits, zero to six decimals. */
function smallDecimal(b: Buffer, p: number): string | null {
  const high = int32(b, p + 12);
  const exponent = ((high >>> 17) & 0x3fff) - EXPONENT_BIAS;
  const small = (high & 0x1ffff) === 0 && int32(b, p + 8) === 0 && int32(b, p + 4) >>> 21 === 0;
  if (!small || exponent > 0 || exponent < -6 || ((high >>> 29) & 3) === 3) return null;
  const digits = String(uint32(b, p + 4) * 4294967296 + uint32(b, p));
  const sign = high < 0 ? '-' : '';
  if (exponent === 0) return sign + digits;
  const padded = digits.padStart(1 - exponent, '0');
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

function anyDecimal(b: Buffer, p: number): string | null {
  const bytes = Buffer.from(b.subarray(p, p + 16));
  try {
    const text = new Decimal128(bytes).toString();
    return bytes.equals(Decimal128.fromString(text).bytes) ? text : null;
  } catch {
    // Digits beyond 34 have no text that is taken back: the value is then kept as bytes.
    return null;
  }
}
