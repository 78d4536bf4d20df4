import { isUtf8 } from 'node:buffer';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const HEX = Buffer.from('0123456789abcdef');
/** What to write behind a backslash for a byte that JSON cannot hold as it is; 1 = `\u00XX`, 0 = the byte itself. */
const ESCAPE = new Uint8Array(256);
ESCAPE.fill(1, 0, 0x20);
ESCAPE[8] = 0x62;
ESCAPE[9] = 0x74;
ESCAPE[10] = 0x6e;
ESCAPE[12] = 0x66;
ESCAPE[13] = 0x72;
ESCAPE[QUOTE] = QUOTE;
ESCAPE[BACKSLASH] = BACKSLASH;

/** A value longer than this is copied piece by piece, so that the buffer never needs to hold it whole. */
const PIECE_BYTES = 1 << 16;
/** A loop over the bytes beats `copy` below this length (bench/w1.ts). */
const SHORT_BYTES = 96;

/** Makes room in a writer that is full: writes bytes away or grows the buffer. After it `pos + bytes <= buf.length`. */
export type MakeRoom = (writer: ByteWriter, bytes: number) => void;

function grow(writer: ByteWriter, bytes: number): void {
  const larger = Buffer.allocUnsafeSlow(Math.max(writer.buf.length * 2, writer.pos + bytes));
  writer.buf.copy(larger, 0, 0, writer.pos);
  writer.buf = larger;
}

/**
 * JSON text written as bytes into one reused buffer. Hot loops may take `buf` and `pos` into locals after `ensure`, and
 * must put `pos` back; every method that writes may replace `buf` or move `pos` to the front (the ledger writes full
 * buffers away), so neither may be kept across calls.
 */
export class ByteWriter {
  buf: Buffer;
  pos = 0;
  readonly #makeRoom: MakeRoom;

  /** `size` in bytes; without `makeRoom` the buffer grows. */
  constructor(size: number, makeRoom: MakeRoom = grow) {
    this.buf = Buffer.allocUnsafeSlow(size);
    this.#makeRoom = makeRoom;
  }

  /** After it at least `bytes` (at most 1 MiB) can be written at `pos`. */
  ensure(bytes: number): void {
    if (this.pos + bytes > this.buf.length) this.#makeRoom(this, bytes);
  }

  byte(value: number): void {
    if (this.pos === this.buf.length) this.#makeRoom(this, 1);
    this.buf[this.pos++] = value;
  }

  /** Copies bytes as they are. */
  bytes(source: Uint8Array): void {
    this.range(source, 0, source.length);
  }

  /** Copies `source[start, end)` as it is, in pieces. */
  range(source: Uint8Array, start: number, end: number): void {
    if (end - start <= SHORT_BYTES) {
      this.ensure(end - start);
      const out = this.buf;
      let pos = this.pos;
      for (let i = start; i < end; i++) out[pos++] = source[i]!;
      this.pos = pos;
      return;
    }
    for (let at = start; at < end; ) {
      const piece = Math.min(end - at, PIECE_BYTES);
      this.ensure(piece);
      // All of it needs no view.
      this.buf.set(piece === source.length ? source : source.subarray(at, at + piece), this.pos);
      this.pos += piece;
      at += piece;
    }
  }

  /** Writes text that is known to be ASCII. */
  ascii(text: string): void {
    this.ensure(text.length);
    this.pos += this.buf.write(text, this.pos, 'latin1');
  }

  /** Writes a safe integer. */
  integer(value: number): void {
    if (value >= 0 && value < 10) this.byte(48 + value);
    else this.ascii(String(value));
  }

  /** Writes a JavaScript value as JSON. For rare records; not for the hot path. */
  json(value: unknown): void {
    this.bytes(Buffer.from(JSON.stringify(value) ?? 'null', 'utf8'));
  }

  /** Writes `source[start, end)`, valid UTF-8, as a JSON string with its quotes. */
  string(source: Uint8Array, start: number, end: number): void {
    this.byte(QUOTE);
    this.stringPart(source, start, end);
    this.byte(QUOTE);
  }

  /** As `string`, without the quotes: text that comes in parts. */
  stringPart(source: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const stop = Math.min(end, at + PIECE_BYTES);
      this.ensure((stop - at) * 6);
      const out = this.buf;
      let pos = this.pos;
      for (; at < stop; at++) {
        const byte = source[at]!;
        const code = ESCAPE[byte]!;
        if (code === 0) {
          out[pos++] = byte;
        } else {
          out[pos++] = BACKSLASH;
          if (code === 1) {
            out[pos++] = 0x75;
            out[pos++] = 48;
            out[pos++] = 48;
            out[pos++] = HEX[byte >> 4]!;
            out[pos++] = HEX[byte & 15]!;
          } else {
            out[pos++] = code;
          }
        }
      }
      this.pos = pos;
    }
  }
}

/** The bytes as valid UTF-8: themselves, or a copy with U+FFFD for each broken sequence. */
export function toValidUtf8(bytes: Uint8Array): Uint8Array {
  return isUtf8(bytes) ? bytes : Buffer.from(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes), 'utf8');
}

/** A constant piece of JSON as bytes, made once. */
export function fragment(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'utf8'));
}
