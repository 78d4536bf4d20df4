import type { Delivery, FailedRecord, Sink } from '../../core/sink.ts';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { wait } from '../../wait.ts';
import { backoffMs } from '../backoff.ts';
import type { Health } from './health.ts';
import type { SinkMetrics } from './metrics.ts';
import type { Lines } from './oversize.ts';
import { indexAt, lineAt, type Parcel, pickRecords, sliceParcel } from './parcel.ts';

/** Keeps what the receiver refused for good, and counts it; durable when it returns. Takes letters in the order of the ledger. */
export type DeadLetterBox = (letters: readonly DeadLetter[]) => void;

export interface DeadLetter {
  readonly index: number;
  readonly reason: string;
  /** The record as it was sent, with its line feed. */
  readonly line: Buffer;
}

/** Makes a record at most `limit` bytes long, as one line or several; null when that cannot be done. */
export type Reduce = (line: Buffer, limit: number) => Lines | null;

/** The reason of a record in a partial failure that the receiver would take if it were smaller. */
const TOO_LARGE = 'too_large';

export interface SenderOptions {
  readonly sink: Sink;
  readonly health: Health;
  readonly metrics: SinkMetrics;
  readonly deadLetters: DeadLetterBox;
  readonly reduce: Reduce;
  /** Longest wait between two tries, in milliseconds. */
  readonly retryMaxMs: number;
}

/** Below this size a record is not made smaller any more: the receiver's complaint is about something else. */
const SMALLEST_BYTES = 1024;
/** After so many failures in a row without an answer that says why, the request's size may be the reason. */
const SUSPICIOUS_FAILURES = 5;
/** What requests grow by with each that is taken, until they have the size the options say again. */
const GROWTH = 1.25;

/** One parcel on its way. */
interface Job {
  /** Sent from the front, so that what comes first in the ledger comes first at the receiver also after a split. */
  readonly todo: Parcel[];
  /** Kept together at the end: a receiver that refuses everything would else cost a sync, a log line and a record each. */
  readonly refused: DeadLetter[];
}

/** Sends one parcel until every record of it is taken or, refused for good, in the dead letters. */
export class Sender {
  readonly #options: SenderOptions;
  /** Most bytes of a request that the receiver can do with at present; shared by all parcels on their way. */
  #window = Number.POSITIVE_INFINITY;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /**
   * True when the parcel is settled, false when the signal aborted before: then nothing of it is in the dead letters either.
   * @throws AUD_SINK_CLOSED, AUD_SINK_FAILED, AUD_LEDGER_WRITE (dead letters)
   */
  async send(parcel: Parcel, signal: AbortSignal): Promise<boolean> {
    const { metrics } = this.#options;
    const job: Job = { todo: [parcel], refused: [] };
    let attempt = 0;
    for (let next = this.#takeFitting(job.todo); next !== null; next = this.#takeFitting(job.todo)) {
      if (signal.aborted) return false;
      metrics.batches++;
      const answer = await this.#deliver(next, signal);
      if (signal.aborted && answer.outcome !== 'accepted') return false;
      const waitMs = this.#settle(next, answer, job, attempt + 1);
      if (waitMs === null) {
        attempt = 0;
        continue;
      }
      attempt++;
      metrics.retries++;
      await wait(waitMs, signal);
    }
    // Gathered over several answers: the order of the ledger again.
    if (job.refused.length > 0) this.#options.deadLetters(job.refused.sort((a, b) => a.index - b.index));
    return true;
  }

  /** The next parcel, no larger than the receiver takes: the parts of a split record stay in one parcel until here. */
  #takeFitting(todo: Parcel[]): Parcel | null {
    const next = todo.shift();
    if (next === undefined) return null;
    const { maxBatchRecords, maxBatchBytes } = this.#options.sink.limits;
    const most = Math.min(this.#window, maxBatchBytes ?? Number.POSITIVE_INFINITY);
    let count = Math.min(next.count, maxBatchRecords ?? next.count);
    while (count > 1 && next.ends[count - 1]! > most) count--;
    if (count === next.count) return next;
    todo.unshift(sliceParcel(next, count, next.count));
    return sliceParcel(next, 0, count);
  }

  async #deliver(parcel: Parcel, signal: AbortSignal): Promise<Delivery> {
    try {
      return await this.#options.sink.deliver(parcel, signal);
    } catch (cause) {
      if (signal.aborted) return { outcome: 'unavailable', reason: 'stopped' };
      if (cause instanceof AuditError) throw cause;
      throw new AuditError('AUD_SINK_FAILED', {
        message: `The sink failed: ${messageOf(cause)}.`,
        action: 'Report it with the log; the records are in the ledger.',
        cause,
      });
    }
  }

  /** Acts on an answer: puts back what is to be sent again. The wait before that in milliseconds, or null for none. */
  #settle(parcel: Parcel, answer: Delivery, job: Job, attempt: number): number | null {
    const { health, metrics, retryMaxMs } = this.#options;
    const { todo } = job;
    switch (answer.outcome) {
      case 'accepted':
        health.succeeded();
        this.#window *= GROWTH;
        metrics.records += parcel.count;
        metrics.bytes += parcel.bytes.length;
        return null;
      case 'partial':
        return this.#settlePartial(parcel, answer.failed, job, attempt);
      case 'throttled': {
        health.failed('throttled');
        this.#shrink(parcel);
        todo.unshift(parcel);
        return Math.max(answer.afterMs ?? 0, backoffMs(attempt, retryMaxMs));
      }
      case 'unavailable':
        health.failed(answer.reason);
        if (attempt >= SUSPICIOUS_FAILURES) this.#shrink(parcel);
        todo.unshift(parcel);
        return backoffMs(attempt, retryMaxMs);
      case 'too_large':
        if (parcel.count > 1) this.#halve(parcel, todo);
        else todo.unshift(...this.#makeSmaller(parcel, job));
        return null;
      case 'rejected':
        // One bad record can make a receiver refuse all of a request: the others are found by halving.
        if (parcel.count > 1) this.#halve(parcel, todo);
        else this.#bury(parcel, [{ at: 0, retry: false, reason: answer.reason }], job);
        return null;
      case 'closed':
        throw new AuditError('AUD_SINK_CLOSED', {
          message: `The receiver is gone: ${answer.reason}.`,
          action: 'Start again with a reader; it goes on where this one stopped.',
        });
    }
  }

  #settlePartial(parcel: Parcel, failed: readonly FailedRecord[], job: Job, attempt: number): number | null {
    const { health, metrics, retryMaxMs } = this.#options;
    const { todo } = job;
    const again = failed.filter((record) => record.retry);
    const large = failed.filter((record) => !record.retry && record.reason === TOO_LARGE);
    this.#bury(
      parcel,
      failed.filter((record) => !record.retry && record.reason !== TOO_LARGE),
      job,
    );
    todo.unshift(...large.flatMap(({ at }) => this.#makeSmaller(sliceParcel(parcel, at, at + 1), job)));
    const taken = parcel.count - failed.length;
    metrics.records += taken;
    if (again.length === 0) {
      health.succeeded();
      return null;
    }
    const places = again.map((record) => record.at).sort((a, b) => a - b);
    todo.unshift(pickRecords(parcel, places));
    if (taken > 0) health.succeeded();
    else {
      health.failed(again[0]!.reason);
      this.#shrink(parcel);
    }
    // Progress starts the waits afresh, but a receiver that takes a part is still given time.
    return backoffMs(taken > 0 ? 1 : attempt, retryMaxMs);
  }

  /**
   * Requests are made smaller: a receiver that is out of memory for one, or answers it too late, takes half of it perhaps. A
   * request of one record cannot be, and says nothing about size.
   */
  #shrink(parcel: Parcel): void {
    if (parcel.count > 1) this.#window = Math.min(this.#window, parcel.bytes.length / 2);
  }

  #halve(parcel: Parcel, todo: Parcel[]): void {
    const middle = parcel.count >> 1;
    todo.unshift(sliceParcel(parcel, 0, middle), sliceParcel(parcel, middle, parcel.count));
  }

  /** A single record that is too large although it kept the stated limit: half of its size is tried. Empty: it was given up. */
  #makeSmaller(parcel: Parcel, job: Job): Parcel[] {
    const limit = parcel.bytes.length >> 1;
    const lines = limit < SMALLEST_BYTES ? null : this.#options.reduce(parcel.bytes, limit);
    if (lines === null) {
      this.#bury(parcel, [{ at: 0, retry: false, reason: TOO_LARGE }], job);
      return [];
    }
    this.#options.metrics.reduced++;
    const index = indexAt(parcel, 0);
    const count = lines.ends.length;
    return [{ first: index, count, ...lines, indexes: new Float64Array(count).fill(index) }];
  }

  #bury(parcel: Parcel, failed: readonly FailedRecord[], { refused }: Job): void {
    for (const { at, reason } of failed) refused.push({ index: indexAt(parcel, at), reason, line: lineAt(parcel, at) });
  }
}
