import type { CheckItem, CheckReport } from './connector.ts';

/** Complete records in the order of the ledger, as they stand there: one JSON text a line, UTF-8. */
export interface RecordBatch {
  /** Index of the first record. */
  readonly first: number;
  readonly count: number;
  /** The lines, each with its line feed. Owned by the batch; not changed after it is handed out. */
  readonly bytes: Buffer;
  /** End of each line in `bytes`, just behind its line feed; `count` entries. */
  readonly ends: Uint32Array;
}

/** What a receiver takes. `null`: no bound. */
export interface SinkLimits {
  readonly maxBatchRecords: number | null;
  readonly maxBatchBytes: number | null;
  /** Largest single record the receiver takes. */
  readonly maxRecordBytes: number | null;
  /** How long records may wait for a fuller batch, in milliseconds. */
  readonly maxAgeMs: number;
  /** Batches on the way at the same time; 1 keeps the order of the ledger. */
  readonly maxInFlight: number;
  /** Records older than this, in milliseconds, are not kept under their own time; absent: any age is. `replay` tells beforehand. */
  readonly maxRecordAgeMs?: number;
}

/** Why one record of a batch was not taken. `at` counts from the batch's first record. */
export interface FailedRecord {
  readonly at: number;
  readonly retry: boolean;
  /** The receiver's code or kind of complaint, never the record's values. `too_large`: delivery makes the record smaller. */
  readonly reason: string;
}

/** What the receiver said. A throw is a defect of the sink and stops it; every expected answer is one of these. */
export type Delivery =
  /** All of it is durable there, as strongly as the receiver can say it. */
  | { readonly outcome: 'accepted' }
  | { readonly outcome: 'partial'; readonly failed: readonly FailedRecord[] }
  /** Try the same again, not before `afterMs` when the receiver named a time. */
  | { readonly outcome: 'throttled'; readonly afterMs: number | null }
  | { readonly outcome: 'unavailable'; readonly reason: string }
  /** The batch is too large for the receiver: halve it and try again. */
  | { readonly outcome: 'too_large' }
  /** The receiver refuses this batch for good. */
  | { readonly outcome: 'rejected'; readonly reason: string }
  /** Nobody will ever take records again (closed pipe): the sink stops, its cursor stays. */
  | { readonly outcome: 'closed'; readonly reason: string };

/** One thing `setup` would change at a receiver. */
export interface SetupStep {
  /** The request as a person reads it. */
  readonly text: string;
  run(signal: AbortSignal): Promise<CheckItem>;
}

/** One receiver. Owns its connections; knows nothing of cursors, retries or the ledger. */
export interface Sink {
  readonly limits: SinkLimits;
  /** Sends a test event or asks for health; feeds `doctor`. */
  check(signal: AbortSignal): Promise<CheckReport>;
  deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery>;
  /** What the receiver needs before the first record (templates, topics); absent: nothing. Changes nothing itself. */
  setup?(signal: AbortSignal): Promise<readonly SetupStep[]>;
  /** Idempotent. */
  close(): Promise<void>;
}
