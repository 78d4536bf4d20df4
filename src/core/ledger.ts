import type { RecordBatch } from './sink.ts';

/** A place in the ledger's files: where to find a record without a scan. Hints only: the index decides. */
export interface LedgerCursor {
  /** Index of the next record to read. */
  readonly index: number;
  /** Byte offset of that record in the segment that holds it; absent: found by a scan. */
  readonly segment?: number;
  readonly offset?: number;
}

export interface ReadOptions {
  /** Stop before this index; absent: at the end, or never when `follow`. */
  readonly to?: number;
  /** Largest batch in bytes, soft: a single larger record comes alone. Default 1 MiB. */
  readonly batchBytes?: number;
  readonly batchRecords?: number;
  /** Wait for records to come, until the signal aborts. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
}

/** A batch with the cursor behind its last record. */
export interface LedgerBatch extends RecordBatch {
  readonly next: LedgerCursor;
}

/** Readers of the ledger see only what is durable. */
export interface LedgerReader {
  /** Index one past the last durable record. */
  readonly end: number;
  /** Index of the oldest record kept; 0 unless retention removed older ones. */
  readonly start: number;
  read(from: LedgerCursor, options?: ReadOptions): AsyncIterable<LedgerBatch>;
}
