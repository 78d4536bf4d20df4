import fs from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { CheckReport } from '../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../core/sink.ts';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';
import { AppendFile, makeDirectory, removeFile, syncDirectory } from '../ledger/file-ops.ts';
import { deliveryShape } from '../pipeline/delivery/options.ts';
import { formatOption } from '../record/mappings/index.ts';
import { encodeLines } from './shared/encode.ts';
import type { SinkHost } from './shared/host.ts';

/** Options of the `file` sink. */
export const fileOptions = z
  .strictObject({
    type: z.literal('file'),
    path: z
      .string()
      .min(1)
      .meta({ description: 'The file. Its directory is created.', example: '/var/log/changetrail/audit.ndjson' }),
    max_bytes: z
      .number()
      .int()
      .positive()
      .optional()
      .meta({ description: 'The file is put aside before it would grow beyond this.', example: 104_857_600 }),
    max_age_ms: z.number().int().positive().optional().meta({
      description: 'The file is put aside when its first record has been there for this time.',
      example: 86_400_000,
    }),
    keep: z
      .number()
      .int()
      .positive()
      .optional()
      .meta({ description: 'How many files put aside are kept; default: all.', example: 30 }),
    fsync: z.boolean().default(true).meta({
      description:
        'Sync the file after each batch: delivered then means on the disk. Without it a power failure can lose what the cursor has passed.',
      example: false,
    }),
    format: formatOption,
    ...deliveryShape,
  })
  .meta({
    description:
      'Records as NDJSON in a file, put aside by size and age as `name-‹first index›.ndjson`. A file that was moved away (logrotate) is made anew.',
  });

type Options = z.infer<typeof fileOptions>;

const LIMITS: SinkLimits = {
  maxBatchRecords: null,
  maxBatchBytes: 1 << 20,
  maxRecordBytes: null,
  maxAgeMs: 100,
  maxInFlight: 1,
};

export function createFileSink(options: Options, host: SinkHost): Sink {
  return new FileSink(options, host);
}

interface OpenFile {
  readonly file: AppendFile;
  readonly inode: number;
  /** When the first record of it was written, in milliseconds since 1970. */
  readonly since: number;
}

class FileSink implements Sink {
  readonly limits = LIMITS;
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #path: string;
  #open: OpenFile | null = null;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.#path = resolve(options.path);
  }

  async check(): Promise<CheckReport> {
    const name = this.#path;
    try {
      makeDirectory(dirname(this.#path));
      // A name below it cannot be looked up when the directory is none.
      const existing = fs.statSync(this.#path, { throwIfNoEntry: false }) !== undefined;
      fs.opendirSync(dirname(this.#path)).closeSync();
      fs.accessSync(existing ? this.#path : dirname(this.#path), fs.constants.W_OK);
      return { items: [{ name, level: 'ok', detail: 'The file can be written.' }] };
    } catch (error) {
      const fix = 'Make the directory writable for this user, or name another path.';
      return { items: [{ name, level: 'error', detail: `The file cannot be written: ${messageOf(error)}.`, fix }] };
    }
  }

  async deliver(batch: RecordBatch): Promise<Delivery> {
    try {
      const { bytes } = encodeLines(batch, this.#options.format);
      const { file } = this.#fileFor(bytes.length, batch.first);
      await this.#append(file, bytes);
      return { outcome: 'accepted' };
    } catch (error) {
      this.#forget();
      return { outcome: 'unavailable', reason: reasonOf(error) };
    }
  }

  async close(): Promise<void> {
    this.#forget();
  }

  async #append(file: AppendFile, bytes: Buffer): Promise<void> {
    const before = file.size;
    try {
      file.write(bytes);
      if (this.#options.fsync) await file.sync();
    } catch (error) {
      // What was written of the batch goes, so that it does not stand there twice after the next try.
      file.truncate(before);
      throw error;
    }
  }

  #fileFor(bytes: number, first: number): OpenFile {
    if (this.#open !== null && inodeOf(this.#path) !== this.#open.inode) this.#forget();
    this.#open ??= this.#openFile();
    if (!this.#isFull(this.#open, bytes)) return this.#open;
    this.#putAside(first);
    this.#open = this.#openFile();
    return this.#open;
  }

  #openFile(): OpenFile {
    makeDirectory(dirname(this.#path));
    const existing = fs.existsSync(this.#path);
    const file = existing ? AppendFile.open(this.#path, completeSize(this.#path)) : AppendFile.create(this.#path);
    const stat = fs.statSync(this.#path);
    const since =
      existing && file.size > 0 ? Math.min(stat.birthtimeMs || stat.ctimeMs, stat.mtimeMs) : this.#host.now();
    return { file, inode: stat.ino, since };
  }

  #isFull({ file, since }: OpenFile, bytes: number): boolean {
    const { max_bytes, max_age_ms } = this.#options;
    if (file.size === 0) return false;
    if (max_bytes !== undefined && file.size + bytes > max_bytes) return true;
    return max_age_ms !== undefined && this.#host.now() - since >= max_age_ms;
  }

  /** Renames the file after the index that the next one starts with; the name is durable on return. */
  #putAside(next: number): void {
    this.#forget();
    const aside = asidePath(this.#path, next);
    fs.renameSync(this.#path, aside);
    syncDirectory(dirname(this.#path));
    this.#host.log.info({ event: 'file_put_aside', file: aside }, 'The file was put aside.');
    const { keep } = this.#options;
    if (keep === undefined) return;
    for (const old of filesAside(this.#path).slice(0, -keep)) removeFile(old);
  }

  #forget(): void {
    this.#open?.file.close();
    this.#open = null;
  }
}

const DIGITS = 16;

/** `audit-0000000000001234.ndjson`: records before index 1234; sorts in the order of the ledger. A name in use gets a number. */
function asidePath(path: string, next: number): string {
  const extension = extname(path);
  const stem = join(dirname(path), `${basename(path, extension)}-${String(next).padStart(DIGITS, '0')}`);
  for (let n = 0; ; n++) {
    const name = n === 0 ? `${stem}${extension}` : `${stem}.${n}${extension}`;
    if (!fs.existsSync(name)) return name;
  }
}

function filesAside(path: string): string[] {
  const extension = extname(path);
  const stem = `${basename(path, extension)}-`;
  const isAside = (name: string) =>
    name.startsWith(stem) &&
    name.endsWith(extension) &&
    /^\d{16}(\.\d+)?$/.test(name.slice(stem.length, name.length - extension.length));
  return fs
    .readdirSync(dirname(path))
    .filter(isAside)
    .sort()
    .map((name) => join(dirname(path), name));
}

function inodeOf(path: string): number | null {
  return fs.statSync(path, { throwIfNoEntry: false })?.ino ?? null;
}

const LINE_FEED = 10;
const BLOCK_BYTES = 1 << 16;

/** Bytes up to the last line feed: what lies behind it is the torn end of a write that a crash cut. */
function completeSize(path: string): number {
  const fd = fs.openSync(path, 'r');
  try {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    for (let end = fs.fstatSync(fd).size; end > 0; end -= BLOCK_BYTES) {
      const from = Math.max(0, end - BLOCK_BYTES);
      const got = fs.readSync(fd, block, 0, end - from, from);
      const at = block.subarray(0, got).lastIndexOf(LINE_FEED);
      if (at !== -1) return from + at + 1;
    }
    return 0;
  } finally {
    fs.closeSync(fd);
  }
}

/** The system's code: a full disk and a missing right are waited for like a receiver that is down. */
function reasonOf(error: unknown): string {
  const cause = error instanceof AuditError ? error.cause : error;
  return systemCode(cause) ?? messageOf(error);
}
