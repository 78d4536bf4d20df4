import type { ByteWriter } from '../record/byte-writer.ts';

/**
 * A point in one source's order of changes, as its connector writes it: PostgreSQL an LSN (`0/1A2B3C8`), MongoDB a
 * resume token. Only the connector that made it may interpret it; everybody else keeps and returns it.
 */
export type Position = string;

/**
 * Where a connector writes its records: a view of the ledger's one append buffer. Synchronous: between `begin` and `end`
 * nothing else may write, and both happen in the same turn of the event loop, so records of several sources interleave
 * whole. `begin` assigns the record's place in the ledger.
 */
export interface SourceOutput {
  /** Starts a record: writes `{"v":1,"index":N` and returns the writer to go on with (`,"id":…`). */
  begin(): ByteWriter;
  /** Ends the record that `begin` started, after its closing brace was written. */
  end(): void;
  /** Takes back the record that `begin` started. Only for records that turn out not to be one. */
  abort(): void;
  /**
   * Says that all changes up to `position` have been written and nothing before it is pending. When everything written
   * so far is durable, the stream's `confirm(position)` is called. Cheap; call it at each transaction's end.
   */
  reached(position: Position): void;
  /**
   * Says that the source stands at `position` with nothing pending, though no record was written for it (an idle source).
   * It is made durable in the position file, then confirmed.
   */
  idle(position: Position): void;
  /** True when so much waits for the disk that the source should stop sending until `drained()` resolves. */
  readonly full: boolean;
  drained(): Promise<void>;
  /** Resolves when everything written so far is durable, and what was reached by it is saved and confirmed. */
  settled(): Promise<void>;
  /**
   * Writes a record that is not a change of the stream: gap, capture, schema seen outside of the stream. Its id is
   * made from its kind and place in the ledger, it carries no `source.seq` and plays no part in resuming.
   */
  control(record: ControlRecord): void;
}

/** A record about the capture itself. Missing fields are filled in: `source.name`, `source.engine`, times, `outcome`. */
export interface ControlRecord {
  readonly kind: 'capture' | 'gap' | 'schema' | 'policy' | 'head' | 'access' | 'alert' | 'attribution';
  readonly action: string;
  readonly object?: Readonly<Record<string, unknown>>;
  readonly outcome?: 'success' | 'failure' | 'denied' | 'unknown';
  /** Added to `source`, for example `{ database, lsn }`. */
  readonly source?: Readonly<Record<string, unknown>>;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly changed?: readonly string[];
  readonly missing?: Readonly<Record<string, string>>;
  /** What else there is to say: gap: `{ from, to, cause }`; capture: versions, counts, reasons. */
  readonly details?: Readonly<Record<string, unknown>>;
}
