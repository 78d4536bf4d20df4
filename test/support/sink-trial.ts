import { randomUUID } from 'node:crypto';
import type { Sink } from '../../src/core/sink.ts';
import { type DeliveryHandle, startDelivery } from '../../src/pipeline/delivery/delivery.ts';
import { type SinkMetrics, sinkMetrics } from '../../src/pipeline/delivery/metrics.ts';
import { type DeliveryOptions, defaultDeliveryOptions } from '../../src/pipeline/delivery/options.ts';
import { type MemoryLog, memoryLog } from './memory-log.ts';
import { type RecordFields, type SinkLedger, sinkLedger } from './sink-ledger.ts';
import { until } from './wait.ts';

/**
 * Records of the tests that drain a backlog: a day's worth with CHANGETRAIL_SLOW=1, or as CHANGETRAIL_BACKLOG says. A sink that is
 * slow by nature may take fewer when neither is set.
 */
export const BACKLOG = Number(
  process.env['CHANGETRAIL_BACKLOG'] ?? (process.env['CHANGETRAIL_SLOW'] === '1' ? 500_000 : 20_000),
);
export const BACKLOG_IS_CHOSEN = process.env['CHANGETRAIL_BACKLOG'] !== undefined;

export interface TrialDelivery extends DeliveryHandle {
  /** The crash. */
  abort(): void;
}

/** A ledger and what delivers from it. Everything that still runs is aborted when it is disposed. */
export interface SinkTrial extends AsyncDisposable {
  readonly ledger: SinkLedger;
  /** The records' ids start with it; no two trials have the same. */
  readonly prefix: string;
  /** Ids of all records written with this prefix. */
  readonly ids: string[];
  readonly logs: MemoryLog;
  readonly metrics: SinkMetrics;
  /** `spanMs`: the records are spread over so much time up to now, in milliseconds; absent: they are of now. */
  fill(count: number, spanMs?: number): Promise<void>;
  write(records: readonly RecordFields[]): Promise<void>;
  /** Starts delivering under a name (default `sink`): the same name goes on at the same cursor. Waits are 50 ms at most. */
  deliver(sink: Sink, options?: Partial<DeliveryOptions>, name?: string): TrialDelivery;
  until(condition: () => unknown, what: string): Promise<void>;
}

/** `segmentBytes`: the ledger's segments are rolled at this size. */
export async function runTrial(options: { readonly segmentBytes?: number } = {}): Promise<SinkTrial> {
  const ledger = await sinkLedger(options);
  const prefix = `t${randomUUID().slice(0, 8)}`;
  const logs = memoryLog();
  const metrics = sinkMetrics();
  const running: TrialDelivery[] = [];
  return {
    ledger,
    prefix,
    get ids() {
      return ledger.ids.filter((id) => id.startsWith(`${prefix}:`));
    },
    logs,
    metrics,
    fill: (count, spanMs) => ledger.fill(count, prefix, spanMs),
    write: (records) => ledger.write(records),
    deliver(sink, options = {}, name = 'sink') {
      const crash = new AbortController();
      const handle = startDelivery({
        name,
        sink,
        reader: ledger.ledger.reader,
        cursorPath: ledger.cursorPath(name),
        deadLetterPath: ledger.deadLetterPath(name),
        options: { ...defaultDeliveryOptions(), retry_max_ms: 50, ...options },
        log: logs.log,
        signal: crash.signal,
        control: (record) => ledger.control(record),
        metrics,
      });
      const delivery = { ...handle, abort: () => crash.abort() };
      running.push(delivery);
      return delivery;
    },
    async until(condition, what) {
      await until(condition, { what, timeoutMs: 60_000 });
    },
    async [Symbol.asyncDispose]() {
      for (const delivery of running) {
        delivery.abort();
        await delivery.done.catch(() => undefined);
      }
      await ledger[Symbol.asyncDispose]();
    },
  };
}
