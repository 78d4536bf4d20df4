// Keeps one source captured: opens it, runs its stream, opens it again after a failure, and says so in the ledger.
import type { ActorStage } from '../core/actor.ts';
import type { Connector, SourceHost, SourceMetrics, SourceStream, StreamProgress } from '../core/connector.ts';
import type { LedgerReader } from '../core/ledger.ts';
import { AuditError, messageOf, type Retry } from '../errors/audit-error.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import type { Logger } from '../telemetry/log.ts';
import { wait } from '../wait.ts';
import { backoffMs } from './backoff.ts';
import { positionFiles } from './positions.ts';
import { loadResume } from './resume.ts';
import { PipelineOutput } from './source-output.ts';

export interface SourcePlan {
  readonly name: string;
  readonly engine: 'postgres' | 'mongodb';
  create(host: SourceHost): Promise<Connector>;
  readonly actors: ActorStage;
  readonly writer: LedgerWriter;
  readonly reader: LedgerReader;
  /** Directory of position files. */
  readonly positions: string;
  readonly log: Logger;
  readonly metrics: SourceMetrics;
  /** Milliseconds between `capture` progress records. */
  readonly progressMs: number;
  /** Added to the details of start records: versions and the like. */
  readonly about: Readonly<Record<string, unknown>>;
}

/** Longest wait between tries. What an operator must mend is asked for rarely, what passes by itself often. */
const LONGEST_WAIT_MS: Readonly<Record<Exclude<Retry, 'never'>, number>> = { soon: 15_000, after_operator: 60_000 };
/** What an operator must mend is not asked for more often than this. */
const SHORTEST_OPERATOR_WAIT_MS = 5_000;
/** Never a busy loop, however small the random wait. */
const SHORTEST_WAIT_MS = 100;
/** A stream that ran this long starts the waits anew. */
const STABLE_MS = 30_000;

/**
 * Captures until `signal` aborts; then what was received is durable and a `capture` stop record says where it ended.
 * Rejects with the AuditError that no retry can mend, or the ledger's failure.
 */
export async function runSource(plan: SourcePlan, signal: AbortSignal): Promise<void> {
  const runner = new SourceRunner(plan);
  try {
    await runner.prepare();
    await runner.run(signal);
  } finally {
    await runner.close();
  }
}

class SourceRunner {
  readonly #plan: SourcePlan;
  readonly #output: PipelineOutput;
  #connector!: Connector;
  #attempt = 0;
  #ledgerFailure: AuditError | null = null;
  /** Ends the running stream because of something outside of it. */
  #endStream: ((error: unknown) => void) | null = null;
  #written: StreamProgress = NOTHING;

  constructor(plan: SourcePlan) {
    this.#plan = plan;
    this.#output = new PipelineOutput({
      writer: plan.writer,
      files: positionFiles(plan.positions, plan.name),
      origin: { name: plan.name, engine: plan.engine },
      about: plan.about,
      now: Date.now,
    });
  }

  /** Loads the driver. @throws what bad settings throw, before anything is connected. */
  async prepare(): Promise<void> {
    const plan = this.#plan;
    this.#connector = await plan.create({
      name: plan.name,
      log: plan.log,
      output: this.#output,
      actors: plan.actors,
      metrics: plan.metrics,
      now: Date.now,
      remember: (state) => this.#output.remember(state),
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { metrics, writer } = this.#plan;
    writer.onFailure((error) => {
      this.#ledgerFailure = error;
      this.#endStream?.(error);
    });
    while (!signal.aborted) {
      const began = Date.now();
      try {
        await this.#runOnce(signal);
      } catch (error) {
        const failure = this.#ledgerFailure ?? asAuditError(error);
        if (this.#ledgerFailure !== null || failure.retry === 'never' || isLedgers(failure)) throw failure;
        if (signal.aborted) break;
        if (Date.now() - began > STABLE_MS) this.#attempt = 0;
        metrics.state = 'waiting';
        metrics.lastError = failure.message;
        await this.#waitAfter(failure, signal);
      }
    }
    metrics.state = 'stopped';
  }

  async close(): Promise<void> {
    this.#output.close();
    await this.#connector?.close();
  }

  async #runOnce(signal: AbortSignal): Promise<void> {
    const { name, writer, reader, positions, metrics, log } = this.#plan;
    metrics.state = 'starting';
    await writer.flushed();
    const resume = await loadResume(name, positionFiles(positions, name), reader);
    const ended = new AbortController();
    let failure: unknown = null;
    const fail = (error: unknown) => {
      failure ??= error;
      ended.abort();
    };
    const both = AbortSignal.any([signal, ended.signal]);
    this.#endStream = fail;
    // Positions reached while opening (a new slot's start) are saved at once, confirmed when there is a stream.
    let stream: SourceStream | null = null;
    this.#output.attach((position, saved) => stream?.confirm(position, saved), fail);
    const progress = setInterval(() => this.#recordProgress(stream), this.#plan.progressMs);
    try {
      stream = await this.#connector.open(resume, both);
      this.#written = NOTHING;
      if (failure !== null) throw failure;
      metrics.state = 'streaming';
      metrics.lastError = null;
      log.info({ event: 'streaming' }, `Captures ${name}.`);
      await stream.run(both);
      if (failure !== null) throw failure;
      if (this.#ledgerFailure === null) this.#recordEnd('stop', stream, null);
    } catch (error) {
      if (stream !== null && this.#ledgerFailure === null) this.#recordEnd('stop', stream, error);
      throw error;
    } finally {
      clearInterval(progress);
      this.#endStream = null;
      if (this.#ledgerFailure === null) await this.#output.settled().catch(() => undefined);
      this.#output.attach(null, () => undefined);
      await this.#connector.close();
    }
  }

  /** "Nothing happened" and "nobody was looking" differ by this record. */
  #recordProgress(stream: SourceStream | null): void {
    if (stream === null || this.#ledgerFailure !== null) return;
    this.#recordEnd('progress', stream, null);
  }

  #recordEnd(action: 'stop' | 'progress', stream: SourceStream, error: unknown): void {
    const now = stream.progress();
    const before = this.#written;
    this.#written = now;
    this.#output.control({
      kind: 'capture',
      action,
      outcome: error === null ? 'success' : 'failure',
      details: {
        from: before.position,
        to: now.position,
        changes: now.changes - before.changes,
        transactions: now.transactions - before.transactions,
        tables: difference(now.tables, before.tables),
        ...(error === null ? {} : { error: asAuditError(error).code }),
      },
    });
  }

  async #waitAfter(failure: AuditError, signal: AbortSignal): Promise<void> {
    const retry = failure.retry === 'after_operator' ? 'after_operator' : 'soon';
    const least = retry === 'soon' ? SHORTEST_WAIT_MS : SHORTEST_OPERATOR_WAIT_MS;
    const ms = Math.max(least, backoffMs(++this.#attempt, LONGEST_WAIT_MS[retry]));
    this.#plan.log.warn(
      { event: 'source_waiting', code: failure.code, wait_ms: ms, action: failure.action },
      `${failure.message} Next try in ${(ms / 1000).toFixed(1)} s.`,
    );
    await wait(ms, signal);
  }
}

/** What the data directory cannot take or give ends the capture: no source can mend it. */
function isLedgers(failure: AuditError): boolean {
  return failure.code.startsWith('AUD_LEDGER_');
}

const NOTHING: StreamProgress = { position: null, changes: 0, transactions: 0, tables: {} };

function difference(
  now: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [table, count] of Object.entries(now)) {
    const more = count - (before[table] ?? 0);
    if (more > 0) counts[table] = more;
  }
  return counts;
}

function asAuditError(error: unknown): AuditError {
  if (error instanceof AuditError) return error;
  return new AuditError('AUD_INTERNAL', { message: `Defect: ${messageOf(error)}.`, cause: error });
}
