// Segments compressed with zstd in the seekable format: independent frames of whole lines, and a table of them at the end.
// Any zstd tool decompresses such a file whole; the table lets a reader start at a frame.
// https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
import fs from 'node:fs';
import { constants, zstdDecompressSync } from 'node:zlib';
import { AuditError, messageOf } from '../errors/audit-error.ts';

const SKIPPABLE_MAGIC = 0x184d2a5e;
const SEEKABLE_MAGIC = 0x8f92eab1;
const FOOTER_BYTES = 9;
const HEADER_BYTES = 8;
const ENTRY_BYTES = 8;

export const FRAME_BYTES = 1 << 20;
/** Fast enough to keep up with any capture on one core, and most of what higher levels reach on JSON lines. */
export const FRAME_OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 } };

export interface Frame {
  /** Byte offset of the frame in the compressed file. */
  readonly at: number;
  readonly length: number;
  /** Byte offset of its content in the uncompressed file. */
  readonly offset: number;
  readonly size: number;
}

/** The table of frames, to be written behind the last of them. */
export function seekTable(frames: readonly Frame[]): Buffer {
  const table = Buffer.alloc(HEADER_BYTES + frames.length * ENTRY_BYTES + FOOTER_BYTES);
  table.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  table.writeUInt32LE(table.length - HEADER_BYTES, 4);
  frames.forEach(({ length, size }, i) => {
    table.writeUInt32LE(length, HEADER_BYTES + i * ENTRY_BYTES);
    table.writeUInt32LE(size, HEADER_BYTES + i * ENTRY_BYTES + 4);
  });
  const footer = table.length - FOOTER_BYTES;
  table.writeUInt32LE(frames.length, footer);
  table.writeUInt32LE(SEEKABLE_MAGIC, footer + 5);
  return table;
}

/** @throws AUD_LEDGER_CORRUPT when the table is not whole */
export function readFrames(fd: number, path: string): Frame[] {
  const size = fs.fstatSync(fd).size;
  const footer = readAt(fd, Math.max(0, size - FOOTER_BYTES), FOOTER_BYTES);
  if (footer.length < FOOTER_BYTES || footer.readUInt32LE(5) !== SEEKABLE_MAGIC || footer[4] !== 0) {
    throw damagedFrames(path, 'it has no seek table');
  }
  const count = footer.readUInt32LE(0);
  const length = HEADER_BYTES + count * ENTRY_BYTES + FOOTER_BYTES;
  const table = length > size ? Buffer.alloc(0) : readAt(fd, size - length, length);
  if (table.length < length || table.readUInt32LE(0) !== SKIPPABLE_MAGIC || table.readUInt32LE(4) !== length - 8) {
    throw damagedFrames(path, 'its seek table is damaged');
  }
  const frames: Frame[] = [];
  let at = 0;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const compressed = table.readUInt32LE(HEADER_BYTES + i * ENTRY_BYTES);
    const plain = table.readUInt32LE(HEADER_BYTES + i * ENTRY_BYTES + 4);
    frames.push({ at, length: compressed, offset, size: plain });
    at += compressed;
    offset += plain;
  }
  if (at !== size - length) throw damagedFrames(path, 'its frames do not add up to its length');
  return frames;
}

/** The content of a frame. @throws AUD_LEDGER_CORRUPT */
export function readFrame(fd: number, path: string, frame: Frame): Buffer {
  let bytes: Buffer;
  try {
    bytes = zstdDecompressSync(readAt(fd, frame.at, frame.length), { maxOutputLength: Math.max(1, frame.size) });
  } catch (cause) {
    throw damagedFrames(path, `a frame does not decompress (${messageOf(cause)})`);
  }
  if (bytes.length !== frame.size) throw damagedFrames(path, 'a frame has another length than the table says');
  return bytes;
}

function readAt(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const got = fs.readSync(fd, bytes, done, length - done, at + done);
    if (got === 0) break;
    done += got;
  }
  return bytes.subarray(0, done);
}

function damagedFrames(path: string, why: string): AuditError {
  return new AuditError('AUD_LEDGER_CORRUPT', {
    message: `Segment ${path} cannot be read: ${why}.`,
    action: 'Run changetrail verify on the directory, and restore the segment from a copy.',
  });
}
