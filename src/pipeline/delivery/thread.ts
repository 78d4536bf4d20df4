import { Worker } from 'node:worker_threads';
import { beside } from '../../beside.ts';
import type { ControlRecord } from '../../core/output.ts';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import type { LedgerWriter } from '../../ledger/writer.ts';
import type { Logger } from '../../telemetry/log.ts';
import { shownCursor } from './cursor-file.ts';
import type { DeliveryHandle } from './delivery.ts';
import { type SinkStatus, sinkMetrics } from './metrics.ts';
import { type SharedEndBuffer, SharedEndWriter } from './shared-end.ts';
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts';

export interface SinkThreadPlan extends Omit<ThreadData, 'logLevel' | 'end'> {
  readonly writer: LedgerWriter;
  readonly log: Logger;
  readonly signal: AbortSignal;
  control(record: ControlRecord): void;
}

/** A sink that needs more than this is killed alone; the records it choked on stay in the ledger. */
const HEAP_MB = 512;

/**
 * As `startDelivery`, in a thread of the sink's own: what mapping and compression cost is not taken from capture. The thread
 * reads the ledger's files itself and is told only how far they are durable.
 */
export function startSinkThread(plan: SinkThreadPlan): DeliveryHandle {
  const end = new SharedEndWriter(plan.writer.durable);
  const unsubscribe = plan.writer.onDurable((durable) => end.set(durable));
  let status: SinkStatus = { name: plan.name, ...sinkMetrics(), cursor: 0, lagRecords: 0, lagMs: 0 };
  const worker = new Worker(beside(import.meta.url, 'thread-worker'), {
    workerData: threadData(plan, end.buffer),
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  const tell = (message: ToThread) => worker.postMessage(message);
  const abort = () => tell('abort');
  plan.signal.addEventListener('abort', abort, { once: true });
  if (plan.signal.aborted) abort();

  let reportedMs = Date.now();
  const done = follow(worker, plan, (reported) => {
    status = reported;
    reportedMs = Date.now();
  }).finally(() => {
    unsubscribe();
    plan.signal.removeEventListener('abort', abort);
  });
  done.catch((error: AuditError) => {
    status = { ...status, state: 'failed', lastError: error.message, lastErrorAt: new Date().toISOString() };
  });
  return {
    done,
    drain() {
      tell('drain');
      return done;
    },
    status() {
      const cursor = status.state === 'starting' ? shownCursor(plan.cursorPath) : status.cursor;
      // What waited at the last report waits still: a thread that hangs or ended does not report.
      const lagMs = status.lagMs === 0 ? 0 : status.lagMs + (Date.now() - reportedMs);
      return { ...status, cursor, lagMs, lagRecords: Math.max(0, plan.writer.durable.next - cursor) };
    },
  };
}

/** What goes over to the thread: everything of the plan that can be copied. */
function threadData(plan: SinkThreadPlan, end: SharedEndBuffer): ThreadData {
  const { name, type, options, registry, segments, cursorPath, deadLetterPath, log } = plan;
  return { name, type, options, registry, segments, cursorPath, deadLetterPath, logLevel: log.level, end };
}

/** Acts on what the thread says until it ends. Rejects with its failure, or AUD_SINK_FAILED when it died. */
function follow(worker: Worker, plan: SinkThreadPlan, onStatus: (status: SinkStatus) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: FromThread) => {
      if (message.kind === 'status') onStatus(message.status);
      else if (message.kind === 'log') relay(plan.log, message.line);
      else if (message.kind === 'control') plan.control(message.record);
      else if (message.error === null) resolve();
      else reject(new AuditError(message.error.code, withoutUndefined(message.error)));
    });
    worker.on('error', (error) => reject(crashed(plan.name, error)));
    worker.on('exit', () => reject(crashed(plan.name, null)));
  });
}

function relay(log: Logger, line: string): void {
  const { level, time: _time, msg, ...fields } = JSON.parse(line) as { level: 'info'; time: number; msg: string };
  log[level](fields, msg);
}

function crashed(name: string, cause: unknown): AuditError {
  return new AuditError('AUD_SINK_FAILED', {
    message: `The thread of sink ${name} ended${cause === null ? '' : `: ${messageOf(cause)}`}.`,
    action: 'Start again; if it ends again, report it with the log. The records are in the ledger.',
  });
}

function withoutUndefined<T extends object>(members: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(members).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> };
}
