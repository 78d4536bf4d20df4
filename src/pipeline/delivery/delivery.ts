import type { LedgerBatch, LedgerCursor, LedgerReader, ReadOptions } from '../../core/ledger.ts';
import type { ControlRecord } from '../../core/output.ts';
import type { Sink } from '../../core/sink.ts';
import { AuditError } from '../../errors/audit-error.ts';
import type { Logger } from '../../telemetry/log.ts';
import { type BatchBounds, Batcher, type Shape } from './batcher.ts';
import { CursorFile, readCursor, shownCursor } from './cursor-file.ts';
import { deadLetterBox } from './dead-letters.ts';
import { Health } from './health.ts';
import type { SinkMetrics, SinkStatus } from './metrics.ts';
import type { DeliveryOptions } from './options.ts';
import type { Parcel } from './parcel.ts';
import { Sender } from './sender.ts';
import { makeShaper } from './shape.ts';

/** What one sink's delivery is given. It owns the sink and closes it. */
export interface DeliveryPlan {
  /** The sink's name in the configuration. */
  readonly name: string;
  readonly sink: Sink;
  readonly reader: LedgerReader;
  /** The sink's cursor file, `cursors/<name>.json`, written by this delivery alone; null with `range`. */
  readonly cursorPath: string | null;
  /** Deliver these records and end, instead of all from the cursor on: `to` is one past the last index. */
  readonly range?: { readonly from: LedgerCursor; readonly to: number };
  /** Where refused records are kept: `dead-letters/<name>.ndjson`. */
  readonly deadLetterPath: string;
  readonly options: DeliveryOptions;
  readonly log: Logger;
  /** Aborts at once: what is on the way may arrive or not, the cursor stays before it. */
  readonly signal: AbortSignal;
  /** Writes a record about the delivery itself into the ledger. */
  control(record: ControlRecord): void;
  readonly metrics: SinkMetrics;
}

export interface DeliveryHandle {
  /**
   * Resolves after a drain or an abort. Rejects with AUD_SINK_CLOSED when nobody will take records any more, with
   * another AuditError when the sink or its files failed. The sink is closed and the cursor durable either way.
   */
  readonly done: Promise<void>;
  /** Delivers what the ledger holds now, then ends; resolves like `done`. Waits for a receiver that is down: abort ends that. */
  drain(): Promise<void>;
  status(): SinkStatus;
}

/**
 * Reads the ledger from the sink's cursor on and delivers for as long as it runs. Never throws: what cannot start (its cursor
 * belongs to another ledger) says so by `done`, and holds up nobody else.
 */
export function startDelivery(plan: DeliveryPlan): DeliveryHandle {
  let delivery: LedgerDelivery;
  try {
    delivery = new LedgerDelivery(plan);
  } catch (error) {
    return neverStarted(plan, error as Error);
  }
  const done = delivery.run();
  done.catch(() => undefined);
  return {
    done,
    drain() {
      delivery.drain();
      return done;
    },
    status: () => delivery.status(),
  };
}

/** The handle of a delivery that sent nothing; its cursor file stays as it is. */
function neverStarted({ name, sink, metrics, reader, cursorPath }: DeliveryPlan, error: Error): DeliveryHandle {
  failed(metrics, error);
  const done = sink.close().then(() => {
    throw error;
  });
  done.catch(() => undefined);
  return {
    done,
    drain: () => done,
    status() {
      const cursor = cursorPath === null ? 0 : shownCursor(cursorPath);
      return { name, ...metrics, cursor, lagRecords: Math.max(0, reader.end - cursor), lagMs: 0 };
    },
  };
}

function failed(metrics: SinkMetrics, error: Error): void {
  metrics.state = 'failed';
  metrics.lastError = error.message;
  metrics.lastErrorAt = new Date().toISOString();
}

const DEFAULT_BATCH_RECORDS = 10_000;
const DEFAULT_BATCH_BYTES = 1 << 20;

const NOTHING = Buffer.alloc(0);
const NO_ENDS = new Uint32Array(0);

/** A parcel on its way, with the cursor to move to when it and all before it arrived. */
interface Flight {
  readonly next: LedgerCursor;
  readonly parcel: Parcel | null;
  arrived: boolean;
}

/** Records `[from, to)` that retention removed before they were delivered. */
interface Hole {
  readonly from: number;
  readonly to: number;
}

class LedgerDelivery {
  readonly #plan: DeliveryPlan;
  readonly #cursor: CursorFile;
  readonly #sender: Sender;
  readonly #bounds: BatchBounds;
  readonly #shape: Shape;
  /** In the order of the ledger. */
  readonly #flights: Flight[] = [];
  /** What was found removed and is told when the cursor moves over it. In the order of the ledger. */
  readonly #holes: Hole[] = [];
  /** Ends the reading that follows the ledger; set off by a drain, an abort or a failure. */
  readonly #following = new AbortController();
  readonly #stop = new AbortController();
  #drainTo: number | null = null;
  #failure: unknown = null;
  #landed: (() => void) | null = null;

  constructor(plan: DeliveryPlan) {
    this.#plan = plan;
    const { options, metrics, sink } = plan;
    const start = plan.range?.from ?? startCursor(plan);
    this.#cursor = new CursorFile(
      plan.cursorPath,
      start,
      () => this.status(),
      (error) => this.#fail(error),
    );
    const health = new Health(plan.log, metrics, () => this.#cursor.touch());
    const deadLetters = deadLetterBox(plan);
    const { shape, reduce } = makeShaper({
      options,
      maxRecordBytes: sink.limits.maxRecordBytes,
      metrics,
      deadLetters,
      onFilterError: (message) => this.#filterFailed(message),
    });
    this.#shape = shape;
    this.#sender = new Sender({
      sink,
      health,
      metrics,
      deadLetters,
      reduce,
      retryMaxMs: options.retry_max_ms,
    });
    this.#bounds = boundsOf(plan);
  }

  async run(): Promise<void> {
    const { signal, metrics, sink } = this.#plan;
    const abort = () => this.#abort();
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    metrics.state = 'running';
    try {
      // Where it starts is durable before anything is read: with `start: now` a crash would else begin at a later now.
      this.#cursor.flush();
      await this.#read();
      await this.#landAll();
      if (this.#failure !== null) throw this.#failure;
      metrics.state = 'stopped';
    } catch (error) {
      this.#abort();
      failed(metrics, error as Error);
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
      await sink.close();
      this.#cursor.flush();
    }
  }

  drain(): void {
    this.#drainTo ??= this.#plan.reader.end;
    this.#following.abort();
  }

  status(): SinkStatus {
    const { name, metrics, reader } = this.#plan;
    const cursor = this.#cursor.cursor.index;
    return {
      name,
      ...metrics,
      cursor,
      lagRecords: Math.max(0, reader.end - cursor),
      lagMs: oldestAge(this.#flights),
    };
  }

  async #read(): Promise<void> {
    const { range } = this.#plan;
    if (range !== undefined) {
      await this.#deliverFrom(range.from, { to: range.to, signal: this.#stop.signal });
      return;
    }
    const cursor = await this.#deliverFrom(this.#cursor.cursor, { follow: true, signal: this.#following.signal });
    if (this.#drainTo !== null) await this.#deliverFrom(cursor, { to: this.#drainTo, signal: this.#stop.signal });
  }

  /** Sends what is read from `from` on until the reading ends; the cursor behind what was read. */
  async #deliverFrom(
    from: LedgerCursor,
    how: { follow?: boolean; to?: number; signal: AbortSignal },
  ): Promise<LedgerCursor> {
    const { records, bytes } = this.#bounds;
    const chunks = this.#chunks(from, {
      ...how,
      batchBytes: Math.min(bytes, DEFAULT_BATCH_BYTES),
      batchRecords: records,
    });
    const batcher = new Batcher(chunks, this.#shape, this.#bounds);
    let cursor = from;
    try {
      for (let next = await batcher.next(); next !== null; next = await batcher.next()) {
        while (this.#flights.length >= this.#plan.sink.limits.maxInFlight && !this.#stopped()) await this.#landing();
        if (this.#stopped()) break;
        cursor = next.next;
        this.#depart({ ...next, arrived: next.parcel === null });
      }
    } finally {
      await batcher.close();
    }
    return cursor;
  }

  /** What the ledger holds from `from` on. Retention may remove segments while a receiver is down, also those being read. */
  async *#chunks(from: LedgerCursor, how: ReadOptions): AsyncGenerator<LedgerBatch> {
    const { reader } = this.#plan;
    for (let cursor = from; ; ) {
      if (cursor.index < reader.start) {
        const hole = { from: cursor.index, to: reader.start };
        this.#holes.push(hole);
        // A step of its own, so that the cursor moves over it in its turn: else each start would find the same hole.
        cursor = { index: hole.to };
        yield { first: hole.from, count: 0, bytes: NOTHING, ends: NO_ENDS, next: cursor };
      }
      try {
        for await (const chunk of reader.read(cursor, how)) {
          cursor = chunk.next;
          yield chunk;
        }
        return;
      } catch (error) {
        if (cursor.index >= reader.start) throw error;
      }
    }
  }

  /** Says what the receiver has lost. */
  #tellRemoved({ from, to }: Hole): void {
    const { name, log, metrics, control } = this.#plan;
    const count = to - from;
    metrics.removed += count;
    metrics.lastError = `${count} records were removed by retention before they were delivered`;
    metrics.lastErrorAt = new Date().toISOString();
    log.error(
      {
        event: 'sink_records_removed',
        from,
        to,
        action: `Where a copy of the data directory has them: changetrail replay ${name} --from ${from} --to ${to}.`,
      },
      `Retention removed ${count} record(s) before the receiver had them; it goes on behind them.`,
    );
    control({
      kind: 'capture',
      action: 'not_delivered',
      outcome: 'failure',
      object: { sink: name },
      details: { cause: 'retention', from, to },
    });
  }

  #stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  #depart(flight: Flight): void {
    this.#flights.push(flight);
    if (flight.parcel === null) {
      this.#land();
      return;
    }
    this.#plan.metrics.inFlight++;
    this.#sender
      .send(flight.parcel, this.#stop.signal)
      .then(
        (settled) => {
          flight.arrived = settled;
        },
        (error: unknown) => this.#fail(error),
      )
      .finally(() => {
        this.#plan.metrics.inFlight--;
        this.#land();
      });
  }

  /** Moves the cursor over everything that arrived without a gap. */
  #land(): void {
    let next: LedgerCursor | null = null;
    while (this.#flights[0]?.arrived === true) next = this.#flights.shift()!.next;
    if (next !== null) {
      // Told before it is passed: a crash in between tells it twice, and not never.
      while (this.#holes[0] !== undefined && this.#holes[0].to <= next.index) this.#tellRemoved(this.#holes.shift()!);
      this.#cursor.move(next);
    }
    const landed = this.#landed;
    this.#landed = null;
    landed?.();
  }

  /** Resolves when a flight ended, whatever came of it. */
  #landing(): Promise<void> {
    return new Promise((resolve) => {
      this.#landed = resolve;
    });
  }

  async #landAll(): Promise<void> {
    while (this.#plan.metrics.inFlight > 0) await this.#landing();
  }

  #filterFailed(reason: string): void {
    if (this.#plan.metrics.filterErrors++ > 0) return;
    this.#plan.log.warn(
      { event: 'sink_filter_failed', reason, action: 'Guard members that may be absent: has(record.actor) && …' },
      'The filter’s expression fails on some records; they are sent.',
    );
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#abort();
  }

  #abort(): void {
    this.#following.abort();
    this.#stop.abort();
    this.#landed?.();
  }
}

function startCursor({ cursorPath, options, reader }: DeliveryPlan): LedgerCursor {
  const cursor = cursorPath === null ? null : readCursor(cursorPath);
  if (cursor === null) return { index: options.start === 'now' ? reader.end : reader.start };
  const { end } = reader;
  if (cursor.index <= end) return cursor;
  // Waiting until the ledger is as long would pass over all that is written until then.
  throw new AuditError('AUD_SINK_CURSOR', {
    message: `The cursor file ${cursorPath} stands at record ${cursor.index}, but the ledger ends at ${end}: it belongs to another ledger, or to a newer copy of this one.`,
    action: 'Restore the ledger it belongs to, or remove the file to send this one from its start.',
    retry: 'after_operator',
  });
}

function boundsOf({ options, sink: { limits } }: DeliveryPlan): BatchBounds {
  const within = (wanted: number | undefined, limit: number | null, otherwise: number) =>
    Math.min(wanted ?? otherwise, limit ?? Number.MAX_SAFE_INTEGER);
  return {
    records: within(options.batch_records, limits.maxBatchRecords, limits.maxBatchRecords ?? DEFAULT_BATCH_RECORDS),
    bytes: within(options.batch_bytes, limits.maxBatchBytes, limits.maxBatchBytes ?? DEFAULT_BATCH_BYTES),
    waitMs: options.batch_wait_ms ?? limits.maxAgeMs,
  };
}

const CAPTURED = Buffer.from('"captured":"');

/** How long ago the first record on its way was captured. */
function oldestAge(flights: readonly Flight[]): number {
  const parcel = flights.find((flight) => flight.parcel !== null && !flight.arrived)?.parcel;
  if (parcel === null || parcel === undefined) return 0;
  const at = parcel.bytes.subarray(0, 4096).indexOf(CAPTURED);
  if (at === -1) return 0;
  const start = at + CAPTURED.length;
  const captured = Date.parse(parcel.bytes.toString('latin1', start, parcel.bytes.indexOf(0x22, start)));
  return Number.isNaN(captured) ? 0 : Math.max(0, Date.now() - captured);
}
