import { AuditError } from '../errors/audit-error.ts';
import { ByteWriter, fragment } from '../record/byte-writer.ts';
import { AppendFile } from './file-ops.ts';
import { segmentPath } from './layout.ts';
import type { RecoveredTail } from './recover.ts';

export interface LedgerWriterOptions {
  /** A segment is closed once it is at least this large. */
  readonly segmentBytes: number;
  /** How long a record may wait for others before it is written and synced. */
  readonly groupMs: number;
}

/** A group is written and synced at once when it is this large. */
const GROUP_BYTES = 1 << 20;
/** More than a group, so that records go on arriving while a sync runs; a larger record is written in pieces. */
const BUFFER_BYTES = 4 << 20;
/** Sources are asked to stop while more than this waits for the disk. */
const PENDING_BYTES = 16 << 20;

const HEAD = fragment('{"v":1,"index":');
const LINE_FEED = 10;

/** Where the durable part of the ledger ends. */
export interface DurableEnd {
  /** Index one past the last durable record. */
  readonly next: number;
  /** First index of the segment that is being written. */
  readonly segment: number;
  /** Durable bytes of that segment. */
  readonly offset: number;
}

/**
 * The one writer of the ledger: records are written into one buffer, in groups to the open segment, and each group is made
 * durable by one fdatasync; while a sync runs the next group gathers. Group commit is what makes a sync a record affordable.
 * Any failure is final: nothing more is written or reported durable, and `failed` tells why.
 */
export class LedgerWriter {
  readonly #segments: string;
  readonly #options: LedgerWriterOptions;
  readonly #out: ByteWriter;
  #file: AppendFile | null;
  #segmentFirst: number;
  /** Index of the next record. */
  #next: number;
  /** Where the current record starts in the buffer; at or before it everything is complete records. */
  #recordStart = 0;
  /** Size of the open segment up to its last complete record. */
  #completeSize: number;
  #durable: DurableEnd;
  #timer: NodeJS.Timeout | null = null;
  #committing = false;
  #closed = false;
  #failure: AuditError | null = null;
  #waiters: { index: number; resolve: () => void; reject: (error: AuditError) => void }[] = [];
  #roomWaiters: (() => void)[] = [];
  readonly #listeners = new Set<(end: DurableEnd) => void>();
  readonly #failureListeners = new Set<(error: AuditError) => void>();

  constructor(segments: string, tail: RecoveredTail, options: LedgerWriterOptions) {
    this.#segments = segments;
    this.#options = options;
    this.#out = new ByteWriter(BUFFER_BYTES, (_, bytes) => this.#makeRoom(bytes));
    this.#file = tail.segment === null ? null : AppendFile.open(tail.segment.path, tail.size);
    this.#segmentFirst = tail.segment?.first ?? tail.next;
    this.#next = tail.next;
    this.#completeSize = tail.size;
    this.#durable = { next: tail.next, segment: this.#segmentFirst, offset: tail.size };
  }

  /** Index the next record will have. */
  get next(): number {
    return this.#next;
  }

  get durable(): DurableEnd {
    return this.#durable;
  }

  get failure(): AuditError | null {
    return this.#failure;
  }

  /** Bytes that wait for the disk. */
  get #pending(): number {
    return this.#out.pos + (this.#file?.size ?? 0) - this.#durable.offset;
  }

  /** True when a source should wait for `drained()` before it sends more. */
  get full(): boolean {
    return this.#pending > PENDING_BYTES;
  }

  /** Resolves when `full` is false, or the ledger failed. */
  drained(): Promise<void> {
    if (!this.full || this.#failure !== null) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /** Starts a record and gives the writer to go on with. @throws the failure, once there is one, or AUD_LEDGER_CLOSED. */
  begin(): ByteWriter {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closed) throw closed();
    const out = this.#out;
    this.#recordStart = out.pos;
    out.bytes(HEAD);
    out.integer(this.#next);
    return out;
  }

  /** Ends the record. It is durable when `flushed(index)` resolves. */
  end(): void {
    this.#out.byte(LINE_FEED);
    this.#next++;
    this.#recordStart = this.#out.pos;
    if (this.#out.pos >= GROUP_BYTES) this.#commitNow();
    else this.#commitSoon();
  }

  /** Takes back the record that `begin` started. */
  abort(): void {
    this.#out.pos = this.#recordStart;
    if (this.#file !== null && this.#file.size > this.#completeSize) {
      try {
        this.#file.truncate(this.#completeSize);
      } catch (error) {
        // A part of a record stands in the file: nothing may be written behind it.
        this.#fail(error as AuditError);
        throw error;
      }
    }
    if (this.#durable.next < this.#next) this.#commitSoon();
  }

  /** Resolves once every record below `index` (default: all so far) is durable. */
  flushed(index = this.#next): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#durable.next >= index) return Promise.resolve();
    if (this.#closed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#waiters.push({ index, resolve, reject });
      this.#commitNow();
    });
  }

  /** Calls the listener each time more is durable; returns the way to stop it. */
  onDurable(listener: (end: DurableEnd) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls the listener once when the ledger failed. */
  onFailure(listener: (error: AuditError) => void): void {
    this.#failureListeners.add(listener);
  }

  /** Makes everything durable and closes the segment. Idempotent. @throws the failure, when there was one. */
  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.flushed();
    } finally {
      this.#closed = true;
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#file?.close();
      this.#file = null;
    }
  }

  #commitSoon(): void {
    if (this.#timer !== null || this.#committing) return;
    this.#timer = setTimeout(() => this.#commitNow(), this.#options.groupMs);
  }

  #commitNow(): void {
    if (this.#committing || this.#failure !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#committing = true;
    void this.#commitGroups();
  }

  async #commitGroups(): Promise<void> {
    try {
      do await this.#commitGroup();
      while (this.#out.pos >= GROUP_BYTES || (this.#waiters.length > 0 && this.#durable.next < this.#next));
    } catch (error) {
      this.#fail(error as AuditError);
      return;
    } finally {
      this.#committing = false;
    }
    if (this.#durable.next < this.#next) this.#commitSoon();
  }

  async #commitGroup(): Promise<void> {
    this.#writeComplete();
    const file = this.#file;
    const end: DurableEnd = { next: this.#next, segment: this.#segmentFirst, offset: this.#completeSize };
    if (file === null || end.next === this.#durable.next) return;
    if (end.offset >= this.#options.segmentBytes) {
      this.#roll(file, end);
      return;
    }
    await file.sync();
    this.#setDurable(end);
  }

  /** Writes the complete records of the buffer to the segment, not synced, and keeps an unfinished one. */
  #writeComplete(): void {
    const out = this.#out;
    if (this.#recordStart === 0) return;
    this.#file ??= AppendFile.create(segmentPath(this.#segments, this.#segmentFirst));
    this.#file.write(out.buf.subarray(0, this.#recordStart));
    this.#completeSize = this.#file.size;
    out.buf.copyWithin(0, this.#recordStart, out.pos);
    out.pos -= this.#recordStart;
    this.#recordStart = 0;
  }

  /** The buffer is full in the middle of a record: complete ones go first, then the part that is there. */
  #makeRoom(bytes: number): void {
    try {
      this.#writeComplete();
      if (this.#out.pos + bytes <= this.#out.buf.length) return;
      this.#file ??= AppendFile.create(segmentPath(this.#segments, this.#segmentFirst));
      this.#file.write(this.#out.buf.subarray(0, this.#out.pos));
      this.#out.pos = 0;
    } catch (error) {
      this.#fail(error as AuditError);
      throw error;
    }
  }

  /**
   * Syncs and closes a segment that is large enough, on the spot: under load there is always more on the way, and a source
   * that is faster than the disk would else never see a new segment.
   */
  #roll(file: AppendFile, end: DurableEnd): void {
    file.syncNow();
    file.close();
    this.#file = null;
    this.#segmentFirst = end.next;
    this.#completeSize = 0;
    this.#setDurable({ next: end.next, segment: end.next, offset: 0 });
  }

  #setDurable(end: DurableEnd): void {
    this.#durable = end;
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) {
      if (waiter.index <= end.next) waiter.resolve();
      else this.#waiters.push(waiter);
    }
    this.#releaseRoomWaiters();
    for (const listener of this.#listeners) listener(end);
  }

  #releaseRoomWaiters(): void {
    if (this.full && this.#failure === null) return;
    const waiting = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const resolve of waiting) resolve();
  }

  /** A part of a record takes space that a full disk needs for the next start; if it stays, that start cuts it. */
  #dropUnfinished(): void {
    try {
      this.#file?.truncate(this.#completeSize);
    } catch {
      // The first failure is the one that is told.
    }
  }

  #fail(error: AuditError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#dropUnfinished();
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) waiter.reject(error);
    this.#releaseRoomWaiters();
    for (const listener of this.#failureListeners) listener(error);
  }
}

function closed(): AuditError {
  return new AuditError('AUD_LEDGER_CLOSED', { message: 'The ledger was closed; this record came after its end.' });
}
