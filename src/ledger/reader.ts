import type { LedgerBatch, LedgerCursor, LedgerReader, ReadOptions } from '../core/ledger.ts';
import { AuditError } from '../errors/audit-error.ts';
import { listSegments, type Segment } from './layout.ts';
import { type LineBlock, lineIndex, readLines } from './lines.ts';
import type { DurableEnd, LedgerWriter } from './writer.ts';

/** Where a reader may read to, and how it waits for more. */
export interface LedgerTail {
  /** Null: whatever complete lines are in the files (another process writes them). */
  readonly end: DurableEnd | null;
  /** Resolves when there may be more, or the signal aborts. */
  changed(signal: AbortSignal | undefined): Promise<void>;
}

/** The tail of a ledger that this process writes: only what is durable is shown. */
export function writerTail(writer: LedgerWriter): LedgerTail {
  return {
    get end() {
      return writer.durable;
    },
    changed: (signal) =>
      new Promise((resolve) => {
        const done = () => {
          stop();
          signal?.removeEventListener('abort', done);
          resolve();
        };
        const stop = writer.onDurable(done);
        signal?.addEventListener('abort', done, { once: true });
      }),
  };
}

const POLL_MS = 100;

/** The tail of a ledger that another process writes, or nobody: looked at again after a moment. */
export const FILE_TAIL: LedgerTail = {
  end: null,
  changed: (signal) =>
    new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, POLL_MS);
      signal?.addEventListener('abort', done, { once: true });
    }),
};

/** Reads records in the order of the ledger, plain or compressed segments alike. */
export class SegmentReader implements LedgerReader {
  readonly #segments: string;
  readonly #tail: LedgerTail;

  constructor(segments: string, tail: LedgerTail = FILE_TAIL) {
    this.#segments = segments;
    this.#tail = tail;
  }

  get end(): number {
    return this.#tail.end?.next ?? scanEnd(this.#segments);
  }

  get start(): number {
    return listSegments(this.#segments)[0]?.first ?? 0;
  }

  async *read(from: LedgerCursor, options: ReadOptions = {}): AsyncGenerator<LedgerBatch> {
    let cursor = from;
    const stop = options.to ?? Number.MAX_SAFE_INTEGER;
    while (!isAborted(options.signal) && cursor.index < stop) {
      const end = this.#tail.end;
      const segment = findSegment(this.#segments, cursor.index);
      let progressed = false;
      if (segment !== undefined && cursor.index < (end?.next ?? Number.MAX_SAFE_INTEGER)) {
        for (const batch of readSegment(segment, cursor, end, options)) {
          const kept = cut(batch, stop);
          if (kept === null) return;
          yield kept;
          cursor = kept.next;
          progressed = true;
          if (cursor.index >= stop) return;
          if (isAborted(options.signal)) return;
        }
      }
      if (progressed) continue;
      if (options.follow !== true) return;
      // More may have become durable while this pass ran: only a tail that stands still is waited for.
      if (end === null || end.next === this.#tail.end?.next) await this.#tail.changed(options.signal);
    }
  }
}

/** The segment that holds, or will hold, the record. */
function findSegment(segmentsDir: string, index: number): Segment | undefined {
  const segments = listSegments(segmentsDir);
  const found = segments.findLast((segment) => segment.first <= index);
  if (found === undefined && segments.length > 0) {
    throw new AuditError('AUD_LEDGER_CORRUPT', {
      message: `Record ${index} is not in the ledger any more; the oldest kept is ${segments[0]!.first}.`,
      action: `Read from index ${segments[0]!.first} on.`,
    });
  }
  return found;
}

function* readSegment(
  segment: Segment,
  cursor: LedgerCursor,
  end: DurableEnd | null,
  options: ReadOptions,
): Generator<LedgerBatch> {
  const hinted = cursor.segment === segment.first && cursor.offset !== undefined;
  let index = hinted ? cursor.index : segment.first;
  const lines = readLines(segment.path, hinted ? cursor.offset! : 0, {
    ...(end !== null && end.segment === segment.first ? { to: end.offset } : {}),
    ...(options.batchBytes === undefined ? {} : { blockBytes: options.batchBytes }),
    ...(options.batchRecords === undefined ? {} : { maxLines: options.batchRecords }),
  });
  for (const block of lines) {
    const found = lineIndex(block.bytes, 0);
    if (found !== index) {
      if (hinted && index === cursor.index) return yield* readSegment(segment, { index }, end, options);
      throw damaged(segment, index, found);
    }
    const batch = batchFrom(segment, block, index, cursor.index);
    index += block.ends.length;
    if (batch !== null) yield batch;
  }
}

/** The records of a block from `wanted` on. */
function batchFrom(segment: Segment, block: LineBlock, first: number, wanted: number): LedgerBatch | null {
  const skip = Math.max(0, wanted - first);
  const count = block.ends.length - skip;
  if (count <= 0) return null;
  const start = skip === 0 ? 0 : block.ends[skip - 1]!;
  return {
    first: first + skip,
    count,
    bytes: start === 0 ? block.bytes : block.bytes.subarray(start),
    ends: start === 0 ? block.ends : block.ends.subarray(skip).map((end) => end - start),
    next: { index: first + block.ends.length, segment: segment.first, offset: block.offset + block.bytes.length },
  };
}

/** The part of a batch before `stop`, or null when there is none. */
function cut(batch: LedgerBatch, stop: number): LedgerBatch | null {
  const count = Math.min(batch.count, stop - batch.first);
  if (count <= 0) return null;
  if (count === batch.count) return batch;
  const length = batch.ends[count - 1]!;
  return {
    first: batch.first,
    count,
    bytes: batch.bytes.subarray(0, length),
    ends: batch.ends.subarray(0, count),
    next: { index: stop, segment: batch.next.segment!, offset: batch.next.offset! - batch.bytes.length + length },
  };
}

function damaged(segment: Segment, index: number, found: number): AuditError {
  return new AuditError('AUD_LEDGER_CORRUPT', {
    message: `Segment ${segment.path} is damaged: index ${index} was expected and ${found === -1 ? 'no record' : found} found.`,
    action: 'Run changetrail verify on the directory, and restore the segment from a copy.',
    data: { index },
  });
}

/** One past the last complete record on disk, for a ledger nobody here writes. */
function scanEnd(segmentsDir: string): number {
  const last = listSegments(segmentsDir).at(-1);
  if (last === undefined) return 0;
  let next = last.first;
  for (const block of readLines(last.path, 0, { reuse: true })) next += block.ends.length;
  return next;
}

/** A function, because the compiler takes a signal's state for constant between two looks. */
function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
