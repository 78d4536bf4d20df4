import { isUtf8 } from 'node:buffer';
import { AuditError } from '../../../src/errors/audit-error.ts';
import { type ByteWriter, toValidUtf8 } from '../../../src/record/byte-writer.ts';
import { FORM } from '../types.ts';
import type { Relation } from './relation.ts';
import { hasIsoForm, isUtc, startsWithDigit, writeValue } from './values.ts';

/** Length of a cell that holds no bytes. */
export const NULL_CELL = -1;
/** The value is the old one, kept out of line and not sent again. */
export const UNCHANGED_CELL = -2;

/** PostgreSQL's own bound on the columns of a table, with room for one more. */
const MAX_COLUMNS = 1664;
/** Rows above this are written value by value, so that the buffer never needs room for all of one. */
const FAST_ROW_BYTES = 128 << 10;

/** From here on a native copy is faster than a loop over the bytes. */
const LONG_CELL_BYTES = 96;

const TAG_TEXT = 0x74;
const TAG_NULL = 0x6e;
const TAG_UNCHANGED = 0x75;
const TAG_BINARY = 0x62;

const QUOTE = 0x22;
const NULL_TEXT = Buffer.from('null');

/** What a byte of text needs: 0 nothing, else an escape. */
const UNSAFE = new Uint8Array(256);
UNSAFE.fill(1, 0, 0x20);
UNSAFE[QUOTE] = 1;
UNSAFE[0x5c] = 1;

/**
 * The cells of one row as places in the message's bytes: no value is copied until it is written. Reused for each message.
 * @see https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html (TupleData)
 */
export class Tuple {
  /** The bytes the cells point into. */
  bytes: Buffer = Buffer.alloc(0);
  width = 0;
  readonly start = new Int32Array(MAX_COLUMNS);
  /** Bytes of the cell, or NULL_CELL or UNCHANGED_CELL. */
  readonly length = new Int32Array(MAX_COLUMNS);
  /** Bytes of all cells. */
  total = 0;
  /** Cells that are UNCHANGED_CELL. */
  unchanged = 0;
  /** Cells whose bytes were not valid UTF-8 and were replaced; filled only for databases without an encoding. */
  invalid: number[] = [];

  /** Reads the TupleData at `at` and returns the place behind it. */
  read(b: Buffer, at: number, width: number): number {
    let p = at + 2;
    this.bytes = b;
    this.width = (b[at]! << 8) | b[at + 1]!;
    if (this.width !== width) throw widthError(this.width, width);
    let total = 0;
    let unchanged = 0;
    const { start, length } = this;
    for (let i = 0; i < width; i++) {
      const tag = b[p++]!;
      if (tag === TAG_TEXT) {
        const bytes = (b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!;
        start[i] = p + 4;
        length[i] = bytes;
        total += bytes;
        p += 4 + bytes;
      } else if (tag === TAG_NULL) {
        length[i] = NULL_CELL;
      } else if (tag === TAG_UNCHANGED) {
        length[i] = UNCHANGED_CELL;
        unchanged++;
      } else {
        throw tagError(tag);
      }
    }
    this.total = total;
    this.unchanged = unchanged;
    return p;
  }

  /** Takes unchanged cells from a full old row of the same message. */
  fillFrom(old: Tuple): void {
    for (let i = 0; i < this.width; i++) this.#fill(old, i);
  }

  /** Takes unchanged cells of the key from an old row that holds only the key; its other cells are null and mean nothing. */
  fillKeyFrom(old: Tuple, columns: Int32Array): void {
    for (const i of columns) this.#fill(old, i);
  }

  #fill(old: Tuple, i: number): void {
    if (this.length[i] !== UNCHANGED_CELL || old.length[i] === UNCHANGED_CELL) return;
    this.start[i] = old.start[i]!;
    this.length[i] = old.length[i]!;
    if (old.invalid.includes(i)) this.#takeRepaired(old, i);
    this.total += Math.max(0, old.length[i]!);
    this.unchanged--;
  }

  /** A repaired cell lies behind the message's bytes, where this row has its own repaired cells. */
  #takeRepaired(old: Tuple, i: number): void {
    const value = old.bytes.subarray(old.start[i]!, old.start[i]! + old.length[i]!);
    this.start[i] = this.bytes.length;
    this.bytes = Buffer.concat([this.bytes, value]);
    this.invalid.push(i);
  }

  /** Replaces text that is not UTF-8 (a SQL_ASCII database holds any bytes) and notes which cells. */
  repair(): void {
    this.invalid = [];
    for (let i = 0; i < this.width; i++) {
      const length = this.length[i]!;
      if (length <= 0) continue;
      const start = this.start[i]!;
      const value = this.bytes.subarray(start, start + length);
      if (isUtf8(value)) continue;
      const valid = toValidUtf8(value);
      this.start[i] = this.bytes.length;
      this.length[i] = valid.length;
      this.bytes = Buffer.concat([this.bytes, valid]);
      this.total += valid.length - length;
      this.invalid.push(i);
    }
  }

  /** True when the cell has the same bytes in both rows. */
  same(other: Tuple, i: number): boolean {
    const length = this.length[i]!;
    if (length !== other.length[i]) return false;
    if (length <= 0) return true;
    const a = this.bytes;
    const b = other.bytes;
    const from = this.start[i]!;
    const otherFrom = other.start[i]!;
    if (length > 64) return a.compare(b, otherFrom, otherFrom + length, from, from + length) === 0;
    for (let n = 0; n < length; n++) if (a[from + n] !== b[otherFrom + n]) return false;
    return true;
  }

  /** True when all cells but those of the given columns are null. */
  onlyHas(columns: Int32Array): boolean {
    for (let i = 0; i < this.width; i++) if (this.length[i] !== NULL_CELL && !columns.includes(i)) return false;
    return true;
  }

  /** The text of a cell, or null. */
  text(i: number): string | null {
    const length = this.length[i]!;
    return length < 0 ? null : this.bytes.toString('utf8', this.start[i]!, this.start[i]! + length);
  }
}

/** Writes the row as a JSON object; unchanged cells are left out. */
export function writeRow(out: ByteWriter, relation: Relation, tuple: Tuple): void {
  // Worst case of the fast loop: each byte becomes \u00XX, each cell has quotes and a comma.
  const room = tuple.total * 6 + relation.keysLength + relation.width * 8 + 2;
  if (room <= FAST_ROW_BYTES) writeFast(out, relation, tuple, room);
  else writeLarge(out, relation, tuple);
}

/** Byte loops instead of calls: on rows of a few short columns much faster than `writeLarge` (bench/w1.ts). */
function writeFast(out: ByteWriter, relation: Relation, tuple: Tuple, room: number): void {
  out.ensure(room);
  const { keys, forms, types } = relation;
  const { bytes: b, start, length } = tuple;
  let o = out.buf;
  let q = out.pos;
  o[q++] = 0x7b;
  let first = true;
  for (let i = 0; i < relation.width; i++) {
    const size = length[i]!;
    if (size === UNCHANGED_CELL) continue;
    if (first) first = false;
    else o[q++] = 0x2c;
    const key = keys[i]!;
    for (let j = 0; j < key.length; j++) o[q++] = key[j]!;
    if (size === NULL_CELL) {
      o[q++] = 0x6e;
      o[q++] = 0x75;
      o[q++] = 0x6c;
      o[q++] = 0x6c;
      continue;
    }
    const from = start[i]!;
    const end = from + size;
    const form = forms[i]!;
    if (form === FORM.INTEGER || (form === FORM.FLOAT && startsWithDigit(b, from))) {
      for (let j = from; j < end; j++) o[q++] = b[j]!;
    } else if (form === FORM.JSONB) {
      if (size > LONG_CELL_BYTES) q += b.copy(o, q, from, end);
      else for (let j = from; j < end; j++) o[q++] = b[j]!;
    } else if (form === FORM.PLAIN) {
      o[q++] = QUOTE;
      for (let j = from; j < end; j++) o[q++] = b[j]!;
      o[q++] = QUOTE;
    } else if ((form === FORM.TIMESTAMPTZ || form === FORM.TIMESTAMP) && hasIsoForm(b, from, end)) {
      const utc = form === FORM.TIMESTAMPTZ && isUtc(b, end);
      const stop = utc ? end - 3 : end;
      o[q++] = QUOTE;
      for (let j = from; j < from + 10; j++) o[q++] = b[j]!;
      o[q++] = 0x54;
      for (let j = from + 11; j < stop; j++) o[q++] = b[j]!;
      if (utc) o[q++] = 0x5a;
      o[q++] = QUOTE;
    } else if (form === FORM.TEXT) {
      const at = q;
      o[q++] = QUOTE;
      let j = from;
      for (; j < end; j++) {
        const byte = b[j]!;
        if (UNSAFE[byte] === 1) break;
        o[q++] = byte;
      }
      if (j === end) {
        o[q++] = QUOTE;
      } else {
        out.pos = at;
        out.string(b, from, end);
        o = out.buf;
        q = out.pos;
      }
    } else {
      out.pos = q;
      writeValue(out, types[i]!, b, from, end);
      // The room was ensured before, so the writer has not moved; what is left of it still suffices.
      o = out.buf;
      q = out.pos;
    }
  }
  o[q++] = 0x7d;
  out.pos = q;
}

function writeLarge(out: ByteWriter, relation: Relation, tuple: Tuple): void {
  out.byte(0x7b);
  let first = true;
  for (let i = 0; i < relation.width; i++) {
    if (tuple.length[i] === UNCHANGED_CELL) continue;
    if (first) first = false;
    else out.byte(0x2c);
    out.bytes(relation.keys[i]!);
    writeCell(out, relation, tuple, i);
  }
  out.byte(0x7d);
}

/** Writes one cell's value; an unchanged one must not be asked for. */
export function writeCell(out: ByteWriter, relation: Relation, tuple: Tuple, i: number): void {
  const length = tuple.length[i]!;
  if (length < 0) out.bytes(NULL_TEXT);
  else writeValue(out, relation.types[i]!, tuple.bytes, tuple.start[i]!, tuple.start[i]! + length);
}

function widthError(found: number, expected: number): AuditError {
  return new AuditError('AUD_PG_PROTOCOL', {
    message: `A row has ${found} columns where its relation has ${expected}.`,
    action: 'Report this with the server version.',
  });
}

function tagError(tag: number): AuditError {
  const binary = tag === TAG_BINARY ? ' (binary format, which was not asked for)' : '';
  return new AuditError('AUD_PG_PROTOCOL', {
    message: `A row has a cell of unknown kind 0x${tag.toString(16)}${binary}.`,
    action: 'Report this with the server version.',
  });
}
