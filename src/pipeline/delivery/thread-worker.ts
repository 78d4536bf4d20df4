// The entry of a sink's thread: reads the ledger's files itself and delivers.
import { readlinkSync } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { pino } from 'pino';
import type { Sink } from '../../core/sink.ts';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { SegmentReader } from '../../ledger/reader.ts';
import type { SinkHost } from '../../sinks/shared/host.ts';
import { type DeliveryHandle, startDelivery } from './delivery.ts';
import { sinkMetrics } from './metrics.ts';
import type { DeliveryOptions } from './options.ts';
import { SharedEndTail } from './shared-end.ts';
import type { FromThread, ThreadData, ThreadError, ToThread } from './thread-messages.ts';

/** The part of the registry that a thread needs. */
interface Registry {
  readonly SINKS: Readonly<Record<string, { create(options: unknown, host: SinkHost): Promise<Sink> }>>;
}

const STATUS_MS = 500;

const port = parentPort!;
const send = (message: FromThread) => port.postMessage(message);

/**
 * Where processors are few, capture goes first: on Linux a priority is a thread's own. Elsewhere, or where it may not be
 * changed, the system shares them evenly.
 */
function giveWay(): void {
  try {
    const thread = Number(basename(readlinkSync('/proc/thread-self')));
    os.setPriority(thread, os.constants.priority.PRIORITY_LOW);
  } catch {
    // Not Linux, or a system that does not let us: nothing depends on it.
  }
}

async function run(data: ThreadData): Promise<void> {
  const log = pino(
    { level: data.logLevel, base: null, formatters: { level: (label) => ({ level: label }) } },
    { write: (line: string) => send({ kind: 'log', line }) },
  );
  const abort = new AbortController();
  let handle: DeliveryHandle | null = null;
  let wantsDrain = false;
  port.on('message', (message: ToThread) => {
    if (message === 'abort') abort.abort();
    else if (handle === null) wantsDrain = true;
    else void handle.drain().catch(() => undefined);
  });
  const { SINKS } = (await import(data.registry)) as Registry;
  const sink = await SINKS[data.type]!.create(data.options, { name: data.name, log, now: Date.now });
  handle = startDelivery({
    name: data.name,
    sink,
    reader: new SegmentReader(data.segments, new SharedEndTail(data.end)),
    cursorPath: data.cursorPath,
    deadLetterPath: data.deadLetterPath,
    options: data.options as DeliveryOptions,
    log,
    signal: abort.signal,
    control: (record) => send({ kind: 'control', record }),
    metrics: sinkMetrics(),
  });
  if (wantsDrain) void handle.drain().catch(() => undefined);
  const report = () => send({ kind: 'status', status: handle!.status() });
  const timer = setInterval(report, STATUS_MS);
  try {
    await handle.done;
  } finally {
    clearInterval(timer);
    report();
  }
}

function plain(error: unknown): ThreadError {
  if (!(error instanceof AuditError)) {
    return { code: 'AUD_SINK_FAILED', message: messageOf(error), action: undefined, retry: 'never', data: {} };
  }
  const { code, message, action, retry, data } = error;
  return { code, message, action, retry, data };
}

let failure: ThreadError | null = null;
giveWay();
try {
  await run(workerData as ThreadData);
} catch (error) {
  failure = plain(error);
}
send({ kind: 'done', error: failure });
port.close();
