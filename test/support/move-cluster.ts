// Gives a stopped server another place in its log and another next transaction, as `pg_resetwal -l … -x … -e …` does, which the
// packages that carry a server do not have. What happens near 2^31, 2^32 or 2^63 can then be tried on a real server.
import { chownSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface NewPlace {
  /** Next transaction, with its epoch: 64 bits. Must not be more than 2^31 ahead of the oldest row that is not frozen. */
  readonly xid: bigint;
  /** Start of a log segment (16 MiB); the log goes on from there. */
  readonly lsn: bigint;
}

// ControlFileData and CheckPoint, alike from PostgreSQL 14 to 18. @see src/include/catalog/pg_control.h
const CHECKPOINT_LSN = 32;
const CHECKPOINT_COPY = 40;
const REDO = 0;
const NEXT_XID = 24;

const SEGMENT_BYTES = 16 << 20;
const PAGE_BYTES = 8192;
/** Of a page within a segment, and of a segment's first page. @see XLogLongPageHeaderData in src/include/access/xlog_internal.h */
const SHORT_HEADER = 24;
const LONG_HEADER = 40;
const PAGE_ADDRESS = 8;
const REMAINING = 16;
/** Of a record: total length, xid, previous record, info, resource manager, checksum. */
const RECORD_HEADER = 24;
const PREVIOUS = 8;
const RECORD_CRC = 20;
/** Block id and length before the data of a short record. */
const DATA_HEADER = 2;

/** Transactions that a page and a file of commit states hold, two bits each. */
const XIDS_PER_PAGE = 8192n * 4n;
const XIDS_PER_FILE = XIDS_PER_PAGE * 32n;
const COMMIT_FILE_BYTES = 32 * 8192;

/** The server must have been stopped in order (`fast`). Its replication slots lose their log. */
export async function moveCluster(dataDir: string, { xid, lsn }: NewPlace): Promise<void> {
  const controlPath = join(dataDir, 'global', 'pg_control');
  const control = readFileSync(controlPath);
  const wal = join(dataDir, 'pg_wal');
  const old = control.readBigUInt64LE(CHECKPOINT_LSN);
  const timeline = control.readUInt32LE(CHECKPOINT_COPY + 8);
  const segment = firstSegment(readFileSync(join(wal, segmentName(timeline, old))), old, { xid, lsn });
  for (const name of readdirSync(wal)) if (/^[0-9A-F]{24}$/.test(name)) await unlink(join(wal, name));
  writeOwned(dataDir, join(wal, segmentName(timeline, lsn)), segment);
  writeOwned(dataDir, controlPath, movedControl(control, { xid, lsn }));
  if (xid % XIDS_PER_PAGE !== 0n) {
    const file = ((xid & 0xffffffffn) / XIDS_PER_FILE).toString(16).toUpperCase().padStart(4, '0');
    writeOwned(dataDir, join(dataDir, 'pg_xact', file), Buffer.alloc(COMMIT_FILE_BYTES));
  }
}

/** The bytes of a record, without the page headers that it may go on behind. */
function readRecord(segment: Buffer, at: number): Buffer {
  const length = segment.readUInt32LE(at);
  const record = Buffer.alloc(length);
  for (let have = 0, from = at; have < length; ) {
    if (from % PAGE_BYTES === 0) from += SHORT_HEADER;
    const end = Math.min(from + length - have, from - (from % PAGE_BYTES) + PAGE_BYTES);
    have += segment.copy(record, have, from, end);
    from = end;
  }
  return record;
}

/** A segment that holds nothing but the checkpoint of the shutdown, moved. */
function firstSegment(old: Buffer, at: bigint, { xid, lsn }: NewPlace): Buffer {
  const checkpoint = readRecord(old, Number(at % BigInt(SEGMENT_BYTES)));
  const segment = Buffer.alloc(SEGMENT_BYTES);
  old.copy(segment, 0, 0, LONG_HEADER);
  segment.writeBigUInt64LE(lsn, PAGE_ADDRESS);
  segment.writeUInt32LE(0, REMAINING);
  const record = segment.subarray(LONG_HEADER, LONG_HEADER + checkpoint.length);
  checkpoint.copy(record);
  record.writeBigUInt64LE(0n, PREVIOUS);
  const data = RECORD_HEADER + DATA_HEADER;
  record.writeBigUInt64LE(lsn + BigInt(LONG_HEADER), data + REDO);
  record.writeBigUInt64LE(xid, data + NEXT_XID);
  record.writeUInt32LE(crc32c(record.subarray(0, RECORD_CRC), crc32c(record.subarray(RECORD_HEADER))), RECORD_CRC);
  return segment;
}

function movedControl(control: Buffer, { xid, lsn }: NewPlace): Buffer {
  const moved = Buffer.from(control);
  // The checksum stands behind the last field, wherever that is in this version.
  let end = CHECKPOINT_COPY;
  while (control.readUInt32LE(end) !== crc32c(control.subarray(0, end))) end += 4;
  const place = lsn + BigInt(LONG_HEADER);
  moved.writeBigUInt64LE(place, CHECKPOINT_LSN);
  moved.writeBigUInt64LE(place, CHECKPOINT_COPY + REDO);
  moved.writeBigUInt64LE(xid, CHECKPOINT_COPY + NEXT_XID);
  moved.writeUInt32LE(crc32c(moved.subarray(0, end)), end);
  return moved;
}

function segmentName(timeline: number, lsn: bigint): string {
  const hex = (n: bigint) => n.toString(16).toUpperCase().padStart(8, '0');
  return hex(BigInt(timeline)) + hex(lsn >> 32n) + hex((lsn & 0xffffffffn) / BigInt(SEGMENT_BYTES));
}

function writeOwned(dataDir: string, path: string, bytes: Buffer): void {
  writeFileSync(path, bytes, { mode: 0o600 });
  const { uid, gid } = statSync(dataDir);
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
}

const CASTAGNOLI = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C of the bytes, going on from that of earlier ones. */
function crc32c(bytes: Uint8Array, before = 0): number {
  let value = ~before >>> 0;
  for (const byte of bytes) value = CASTAGNOLI[(value ^ byte) & 0xff]! ^ (value >>> 8);
  return ~value >>> 0;
}
