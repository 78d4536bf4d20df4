import type { LedgerBatch } from '../../core/ledger.ts';
import { compileFilter } from './filter.ts';
import type { SinkMetrics } from './metrics.ts';
import type { DeliveryOptions } from './options.ts';
import { digestValues, isPart, type Lines, splitRecord } from './oversize.ts';
import { lineAt, type Parcel, parcelFrom, parcelOf } from './parcel.ts';
import type { DeadLetterBox, Reduce } from './sender.ts';
import { limitValues } from './values.ts';

/** What a sink's options make of the ledger's records. */
export interface Shaper {
  /** The records to send of a batch; null when there is none. Untouched records are not copied. */
  shape(batch: LedgerBatch): Parcel | null;
  /** Makes one record smaller. */
  readonly reduce: Reduce;
}

export interface ShaperPlan {
  readonly options: DeliveryOptions;
  /** Largest record the receiver takes, in bytes of its line; null: any. */
  readonly maxRecordBytes: number | null;
  readonly metrics: SinkMetrics;
  readonly deadLetters: DeadLetterBox;
  /** Told when the filter's expression fails on a record. */
  onFilterError(message: string): void;
}

/** @throws AUD_SINK_OPTIONS when the filter's expression does not compile. */
export function makeShaper(plan: ShaperPlan): Shaper {
  const { options, metrics } = plan;
  const limit = plan.maxRecordBytes ?? Number.MAX_SAFE_INTEGER;
  const filter = options.filter === undefined ? null : compileFilter(options.filter, plan.onFilterError);
  const reduce: Reduce = (line, bytes) => reduceRecord(line, bytes, options.oversized);
  const shape = (batch: LedgerBatch): Parcel | null => {
    const chosen = new Selection(batch);
    for (let i = 0; i < batch.count; i++) {
      const line = lineAt(batch, i);
      if (filter !== null && !filter(line)) {
        metrics.filtered++;
        continue;
      }
      const sent = options.values === 'all' ? line : limitValues(line, options.values);
      if (sent.length <= limit) chosen.add(i, sent, sent !== line);
      else addReduced(chosen, i, sent);
    }
    return chosen.parcel();
  };
  const addReduced = (chosen: Selection, at: number, line: Buffer) => {
    const smaller = reduce(line, limit);
    metrics.reduced++;
    if (smaller !== null) {
      for (let n = 0, start = 0; n < smaller.ends.length; start = smaller.ends[n++]!) {
        chosen.add(at, smaller.bytes.subarray(start, smaller.ends[n]!), true);
      }
      return;
    }
    plan.deadLetters([{ index: chosen.batch.first + at, reason: 'too_large', line }]);
  };
  return { shape: filter === null && options.values === 'all' ? unlessLarge(shape, limit) : shape, reduce };
}

/** A batch that holds no record over the limit needs no look at its records. */
function unlessLarge(
  shape: (batch: LedgerBatch) => Parcel | null,
  limit: number,
): (batch: LedgerBatch) => Parcel | null {
  return (batch) => (longest(batch.ends) <= limit ? parcelFrom(batch) : shape(batch));
}

function longest(ends: Uint32Array): number {
  let most = 0;
  let start = 0;
  for (const end of ends) {
    if (end - start > most) most = end - start;
    start = end;
  }
  return most;
}

/** The records taken of a batch so far. */
class Selection {
  readonly batch: LedgerBatch;
  readonly #lines: Buffer[] = [];
  readonly #indexes: number[] = [];
  #touched = false;

  constructor(batch: LedgerBatch) {
    this.batch = batch;
  }

  add(at: number, line: Buffer, touched: boolean): void {
    this.#lines.push(line);
    this.#indexes.push(this.batch.first + at);
    this.#touched ||= touched;
  }

  parcel(): Parcel | null {
    if (this.#lines.length === 0) return null;
    if (!this.#touched && this.#lines.length === this.batch.count) return parcelFrom(this.batch);
    return parcelOf(this.#lines, this.#indexes);
  }
}

/**
 * As small as wanted: by digests where the options say so and that is enough, else in parts; null when neither can be. A part
 * that is still too large is split again, whatever the options say.
 */
function reduceRecord(line: Buffer, limit: number, how: DeliveryOptions['oversized']): Lines | null {
  const digested = how === 'digest' && !isPart(line) ? digestValues(line, limit) : null;
  return digested === null ? splitRecord(line, limit) : { bytes: digested, ends: Uint32Array.of(digested.length) };
}
