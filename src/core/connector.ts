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
  /** The position up to which nothing was pending, from the position file, or null. */
  readonly position: Position | null;
  /** What the connector asked to be kept beside the position (system identifier, timeline, …), or null. */
  readonly state: Readonly<Record<string, unknown>> | null;
  /** Definitions of tables known so far: the last `schema` record's `after` by object name, from the ledger. */
  readonly schemas: ReadonlyMap<string, unknown>;
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
  /** Keeps `state` with the next write of the position file; durable when that position is confirmed. */
  remember(state: Readonly<Record<string, unknown>>): void;
  /** True when the last run ended by `drain`, false when the process was killed or the machine stopped. */
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
  /** Tells the source that everything up to `position` is durable. Called only after the ledger's fsync; monotone, cheap. */
  confirm(position: Position): void;
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
  open(resume: ResumePoint, signal: AbortSignal): Promise<SourceStream>;
  /** Idempotent. */
  close(): Promise<void>;
}
