import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';
import { readFrame, readFrames } from './seekable.ts';

const LINE_FEED = 10;
const BLOCK_BYTES = 1 << 20;
const REUSED_BLOCK_BYTES = 1 << 18;
export const COMPRESSED = '.zst';

/** Complete lines as they stand in a file. */
export interface LineBlock {
  /** Byte offset of the first line in the (uncompressed) file. */
  readonly offset: number;
  /** Whole lines, each with its line feed. Not changed after it is handed out, but see `reuse`. */
  readonly bytes: Buffer;
  /** End of each line, behind its line feed. */
  readonly ends: Uint32Array;
  /**
   * With `digestLong`, of a line longer than a block: SHA-256 of the line without its line feed. `bytes` is then only its
   * beginning, though `ends` tells its whole length.
   */
  readonly digest?: Buffer;
}

export interface LineOptions {
  /** Stop at this byte offset; absent: at the end of the file. */
  readonly to?: number;
  /** Soft size of a block; a larger line comes alone. */
  readonly blockBytes?: number;
  readonly maxLines?: number;
  /** Lines longer than a block are hashed while they are read, and never held whole. Plain segments only. */
  readonly digestLong?: boolean;
  /**
   * Every block is read into the same memory, so a block is valid only until the next one is asked for. For whole ledgers:
   * fresh memory for each block costs the system more than reading it. Blocks are then smaller, so that what was read is
   * still in the processor's cache when it is hashed (bench/verify.ts).
   */
  readonly reuse?: boolean;
}

/**
 * The complete lines of a segment from byte `from` on (of the uncompressed file); an unfinished last line is left out.
 * Plain and compressed segments alike: when the named one was replaced by the other form meanwhile, that one is read.
 * @throws AUD_LEDGER_CORRUPT when a compressed segment is damaged
 */
export function* readLines(path: string, from: number, options: LineOptions = {}): Generator<LineBlock> {
  const { fd, name } = openSegment(path);
  try {
    if (isCompressed(name)) yield* readCompressed(fd, name, from, options);
    else yield* readPlain(fd, from, options);
  } finally {
    fs.closeSync(fd);
  }
}

/** Also one that is not in its place yet. */
function isCompressed(name: string): boolean {
  return name.endsWith(COMPRESSED) || name.endsWith(`${COMPRESSED}.tmp`);
}

function openSegment(path: string): { fd: number; name: string } {
  const other = path.endsWith(COMPRESSED) ? path.slice(0, -COMPRESSED.length) : `${path}${COMPRESSED}`;
  for (const name of [path, other]) {
    try {
      return { fd: fs.openSync(name, 'r'), name };
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT') continue;
      throw unreadable(name, cause);
    }
  }
  throw unreadable(path, undefined);
}

function unreadable(path: string, cause: unknown): AuditError {
  return new AuditError('AUD_LEDGER_MISSING', {
    message: `Segment ${path} cannot be read: ${cause === undefined ? 'there is no such file' : messageOf(cause)}.`,
    action: 'Make it readable for this user, or restore it from a copy.',
    cause,
  });
}

function* readPlain(fd: number, from: number, options: LineOptions): Generator<LineBlock> {
  const stop = Math.min(options.to ?? Number.MAX_SAFE_INTEGER, fs.fstatSync(fd).size);
  const size = options.blockBytes ?? (options.reuse === true ? REUSED_BLOCK_BYTES : BLOCK_BYTES);
  const shared = options.reuse === true ? Buffer.allocUnsafeSlow(Math.min(size, Math.max(0, stop - from))) : null;
  for (let offset = from; offset < stop; ) {
    const bytes = Math.min(size, stop - offset);
    const memory = shared?.subarray(0, bytes) ?? Buffer.allocUnsafe(bytes);
    const lines = nextLines(fd, offset, memory, stop, options);
    if (lines === null) return;
    yield lines;
    offset += lines.ends[lines.ends.length - 1]!;
  }
}

/** Reads lines into `memory`; a line longer than that gets memory of its own. */
function nextLines(fd: number, offset: number, memory: Buffer, stop: number, options: LineOptions): LineBlock | null {
  const block = readBlock(fd, offset, memory);
  if (block !== null) return lineBlock(block, offset, options);
  if (options.digestLong === true) return digestLongLine(fd, offset, stop);
  const line = readLongLine(fd, offset, stop);
  return line === null ? null : lineBlock(line, offset, options);
}

function* readCompressed(fd: number, path: string, from: number, options: LineOptions): Generator<LineBlock> {
  const stop = options.to ?? Number.MAX_SAFE_INTEGER;
  for (const frame of readFrames(fd, path)) {
    if (frame.offset + frame.size <= from || frame.offset >= stop) continue;
    const content = readFrame(fd, path, frame);
    const end = content.lastIndexOf(LINE_FEED, stop - frame.offset - 1) + 1;
    for (let at = Math.max(0, from - frame.offset); at < end; ) {
      const lines = lineBlock(content.subarray(at, end), frame.offset + at, options);
      yield lines;
      at += lines.bytes.length;
    }
  }
}

/** The first lines of `block`, as many as asked for. */
function lineBlock(block: Buffer, offset: number, options: LineOptions): LineBlock {
  const ends = lineEnds(block, options.maxLines ?? Number.MAX_SAFE_INTEGER);
  const length = ends[ends.length - 1]!;
  return { offset, bytes: length === block.length ? block : block.subarray(0, length), ends };
}

function readFully(fd: number, buffer: Buffer, offset: number): Buffer {
  let done = 0;
  while (done < buffer.length) {
    const got = fs.readSync(fd, buffer, done, buffer.length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return buffer.subarray(0, done);
}

/** The bytes up to the last line feed of a block, or null when there is none in it. */
function readBlock(fd: number, offset: number, memory: Buffer): Buffer | null {
  const block = readFully(fd, memory, offset);
  const end = block.lastIndexOf(LINE_FEED) + 1;
  return end === 0 ? null : block.subarray(0, end);
}

/** One line longer than a block: its end is looked for first, so that it is held once and not grown towards. */
function readLongLine(fd: number, offset: number, stop: number): Buffer | null {
  const probe = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, stop - offset));
  for (let at = offset; at < stop; ) {
    const bytes = readFully(fd, probe.subarray(0, Math.min(probe.length, stop - at)), at);
    const feed = bytes.indexOf(LINE_FEED);
    if (feed !== -1) return readFully(fd, Buffer.allocUnsafeSlow(at + feed + 1 - offset), offset);
    if (bytes.length === 0) return null;
    at += bytes.length;
  }
  return null;
}

/** Enough of a line to tell its index. */
const BEGINNING_BYTES = 64;

function digestLongLine(fd: number, offset: number, stop: number): LineBlock | null {
  const piece = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, stop - offset));
  const sha = createHash('sha256');
  let beginning: Buffer | null = null;
  for (let at = offset; at < stop; ) {
    const bytes = readFully(fd, piece.subarray(0, Math.min(piece.length, stop - at)), at);
    if (bytes.length === 0) return null;
    beginning ??= Buffer.from(bytes.subarray(0, BEGINNING_BYTES));
    const feed = bytes.indexOf(LINE_FEED);
    if (feed !== -1) {
      const digest = sha.update(bytes.subarray(0, feed)).digest();
      return { offset, bytes: beginning, ends: Uint32Array.of(at + feed + 1 - offset), digest };
    }
    sha.update(bytes);
    at += bytes.length;
  }
  return null;
}

/** Ends of the lines in `bytes`, which ends with a line feed; at most `max` of them. */
export function lineEnds(bytes: Buffer, max = Number.MAX_SAFE_INTEGER): Uint32Array {
  let ends = new Uint32Array(Math.min(max, 1 + (bytes.length >> 7)));
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at !== -1 && count < max; at = bytes.indexOf(LINE_FEED, at + 1)) {
    if (count === ends.length) {
      const larger = new Uint32Array(ends.length * 2);
      larger.set(ends);
      ends = larger;
    }
    ends[count++] = at + 1;
  }
  return ends.subarray(0, count);
}

const TAIL_BYTES = 1 << 16;

/** The last complete line of a segment, without its line feed; null when there is none. */
export function lastLine(path: string): Buffer | null {
  const { fd, name } = openSegment(path);
  try {
    if (isCompressed(name)) {
      const frame = readFrames(fd, name).at(-1);
      return frame === undefined ? null : lastOf(readFrame(fd, name, frame), true);
    }
    const size = fs.fstatSync(fd).size;
    for (let back = TAIL_BYTES; ; back *= 16) {
      const from = Math.max(0, size - back);
      const line = lastOf(readFully(fd, Buffer.allocUnsafe(size - from), from), from === 0);
      if (line !== null || from === 0) return line;
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** The last line of a block; when the block may start within a line, the line feed before it must be there. */
function lastOf(block: Buffer, whole: boolean): Buffer | null {
  const end = block.lastIndexOf(LINE_FEED);
  if (end === -1) return null;
  const before = end === 0 ? -1 : block.lastIndexOf(LINE_FEED, end - 1);
  return before === -1 && !whole ? null : block.subarray(before + 1, end);
}

/** The first complete line of a segment, without its line feed; null when there is none. */
export function firstLine(path: string): Buffer | null {
  for (const { bytes, ends } of readLines(path, 0, { blockBytes: TAIL_BYTES, maxLines: 1 })) {
    return bytes.subarray(0, ends[0]! - 1);
  }
  return null;
}

const HEAD = Buffer.from('{"v":1,"index":');

/** The index a line says it has, read from its first bytes; -1 when it does not start like a record. */
export function lineIndex(bytes: Uint8Array, start: number): number {
  for (let i = 0; i < HEAD.length; i++) if (bytes[start + i] !== HEAD[i]) return -1;
  let index = 0;
  let at = start + HEAD.length;
  for (let byte = bytes[at]!; byte >= 48 && byte <= 57; byte = bytes[++at]!) index = index * 10 + byte - 48;
  return bytes[at] === 0x2c && at > start + HEAD.length ? index : -1;
}
