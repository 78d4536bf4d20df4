import type { Logger } from '../telemetry/log.ts';
import type { ActorStage } from './actor.ts';
import type { Position, SourceOutput } from './output.ts';

/** One thing `doctor` looked at. `fix` is the exact command or setting that mends it. */
export interface CheckItem {
  readonly name: string;
  readonly level: 'ok' | 'warning' | 'error';
  readonly detail: string;
  readonly fix?: string;
}

export interface CheckReport {
  readonly items: readonly CheckItem[];
}

/** What the ledger and the position file know about a source when it is opened. */
export interface ResumePoint {
  /** The `source` object of the last record of the stream in the ledger (it has `seq`), or null when there is none. */
  readonly last: Readonly<Record<string, unknown>> | null;
  /** The kind of that record, `change` or `schema`; null without one. */
  readonly lastKind: string | null;
  /** The position up to which nothing was pending, from the position file, or null. */
  readonly position: Position | null;
  /** What the connector asked to be kept beside the position (system identifier, timeline, …), or null. */
  readonly state: Readonly<Record<string, unknown>> | null;
  /** `details` of the last `capture` start record since the position file was written, or null. */
  readonly started: Readonly<Record<string, unknown>> | null;
  /** The position file is newer than the ledger: an old copy of the ledger was put back, so records are missing. */
  readonly ledgerBehind: boolean;
  /**
   * `schema` records of this source in the ledger since the position file was written, oldest first: they are newer than
   * what `state` says, or all there is.
   */
  readonly schemas: readonly { readonly object: Readonly<Record<string, unknown>>; readonly after: unknown }[];
}

/** What every connector is given. It makes no other use of the outside world. */
export interface SourceHost {
  /** The name of the source in the configuration; first part of every id. */
  readonly name: string;
  readonly log: Logger;
  readonly output: SourceOutput;
  readonly actors: ActorStage;
  /** Milliseconds since 1970. */
  now(): number;
  /** Keeps `state`, written before the next write of the position file. Call it only when it changed. */
  remember(state: Readonly<Record<string, unknown>>): void;
  readonly metrics: SourceMetrics;
}

/** Counters every connector keeps; read by `status` and the metrics page. */
export interface SourceMetrics {
  changes: number;
  transactions: number;
  bytes: number;
  /** Milliseconds between commit at the source and now, of the last change seen. */
  lagMs: number;
  state: 'starting' | 'streaming' | 'waiting' | 'stopped';
  lastError: string | null;
}

export interface SourceStream {
  /**
   * Reads the source and writes records to the host's output until `signal` aborts (then it resolves, after what was
   * received has been written) or the source fails (then it rejects with an AuditError whose `retry` says what helps).
   */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Tells the source that everything up to `position` is durable: in the ledger, or (`saved`) in the position file too.
   * Called only after the fsync; monotone, cheap.
   */
  confirm(position: Position, saved: boolean): void;
  /** What was read since the stream was opened; for `capture` progress records. */
  progress(): StreamProgress;
}

export interface StreamProgress {
  /** Where the stream stands: everything before it was seen. Null until something was. */
  readonly position: string | null;
  readonly changes: number;
  readonly transactions: number;
  /** Changes by table (`schema.table`) or collection (`database.collection`). */
  readonly tables: Readonly<Record<string, number>>;
}

export interface SessionContextRequest {
  /** Take it away again, without trace. */
  readonly remove: boolean;
  /** Run the statements; otherwise they are only returned. Either way they are returned in order. */
  readonly apply: boolean;
  /** Names of session settings to take along. */
  readonly settings: readonly string[];
}

/**
 * One attached database. `open` may be called again after a stream ended; it decides from the resume point where to start,
 * drops what the ledger already holds, and writes a `gap` record first where history is missing.
 */
export interface Connector {
  /** Looks at rights, settings and tables; changes nothing. */
  check(signal: AbortSignal): Promise<CheckReport>;
  /** The statements that would set the source up, for `setup --print`; empty when nothing is to be done. */
  plan(signal: AbortSignal): Promise<readonly string[]>;
  /** Has the database itself say who is in session, or no longer. Absent where the engine has no such thing. */
  sessionContext?(request: SessionContextRequest): Promise<readonly string[]>;
  open(resume: ResumePoint, signal: AbortSignal): Promise<SourceStream>;
  /** Idempotent. */
  close(): Promise<void>;
}
