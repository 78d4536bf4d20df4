// The whole trail of one process: ledger, sources, sinks, and the order in which they start and stop.
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { ActorMetrics, type ActorSnapshot } from '../actor/metrics.ts';
import { createActorStage } from '../actor/stage.ts';
import type { Configuration } from '../config/load.ts';
import type { Connector, SourceHost, SourceMetrics } from '../core/connector.ts';
import type { ControlRecord } from '../core/output.ts';
import type { Sink } from '../core/sink.ts';
import { AuditError } from '../errors/audit-error.ts';
import { type Integrity, startIntegrity } from '../ledger/integrity.ts';
import { type OpenLedger, openLedger } from '../ledger/ledger.ts';
import type { SinkHost } from '../sinks/shared/host.ts';
import type { Logger } from '../telemetry/log.ts';
import { VERSION } from '../version.ts';
import { controlRecordText } from './control-record.ts';
import { type DeliveryHandle, startDelivery } from './delivery/delivery.ts';
import { sinkMetrics } from './delivery/metrics.ts';
import type { DeliveryOptions } from './delivery/options.ts';
import { startSinkThread } from './delivery/thread.ts';
import type { MetricsPage, TrailFigures } from './metrics-page.ts';
import { runSource } from './source-runner.ts';
import { readStatus, StatusFile } from './status-file.ts';
import { readUsedClaims } from './used-claims.ts';

export interface SourceFactory {
  readonly engine: 'postgres' | 'mongodb';
  load(): Promise<unknown>;
  create(options: unknown, host: SourceHost): Promise<Connector>;
}

export interface SinkFactory {
  create(options: unknown, host: SinkHost): Promise<Sink>;
}

export interface TrailPlan {
  readonly configuration: Configuration;
  readonly sources: Readonly<Record<string, SourceFactory>>;
  readonly sinks: Readonly<Record<string, SinkFactory>>;
  /** URL of the module that exports `SINKS`: what a sink's thread loads. */
  readonly registry: string;
  readonly log: Logger;
  /** Ends in order: sources stop, what was received becomes durable and is delivered. */
  readonly drain: AbortSignal;
  /** Ends at once. Nothing is lost: the next start goes on from what is durable. */
  readonly abort: AbortSignal;
  /** Called with the changes captured so far, after each sync and now and then: a commit may come after its rows were synced. */
  onProgress?(changes: number): void;
}

/** What a trail did, for the closing words of `demo`. */
export interface TrailSummary {
  readonly records: number;
  readonly changes: number;
}

/** How long `onProgress` may not know of a commit. */
const PROGRESS_MS = 10;
/** How long sinks may go on delivering after a drain before their cursors are left where they are. */
const DRAIN_SINKS_MS = 10_000;

/**
 * Runs until `drain` or `abort`, or until something fails that no retry mends: then the AuditError.
 * @throws AUD_LEDGER_LOCKED, AUD_LEDGER_CORRUPT and friends at the start; the sources' and the ledger's failures later.
 */
export async function runTrail(plan: TrailPlan): Promise<TrailSummary> {
  const ledger = openLedger(plan.configuration.data, {
    segmentBytes: plan.configuration.ledger.segment_size,
    groupMs: plan.configuration.ledger.group_ms,
  });
  const trail = new Trail(plan, ledger);
  try {
    return await trail.run();
  } finally {
    await trail.close();
  }
}

/** SHA-256 of what decides what is captured; secrets are left out, so that the hash tells nothing of them. */
function configurationHash(configuration: Configuration): string {
  const text = JSON.stringify(configuration, (key, value) =>
    /url|token|password|secret|key|header/i.test(key) ? undefined : value,
  );
  return hash('sha256', text, 'hex');
}

/** Rejects when nothing can be signed any more: an unsigned trail is not continued. */
function integrityFailed(integrity: Integrity): Promise<never> {
  return new Promise((_, reject) => integrity.onFailure(reject));
}

class Trail {
  readonly #plan: TrailPlan;
  readonly #ledger: OpenLedger;
  readonly #first: number;
  readonly #metrics = new Map<string, SourceMetrics>();
  readonly #actors = new Map<string, ActorMetrics>();
  readonly #deliveries = new Map<string, DeliveryHandle>();
  readonly #abort = new AbortController();
  /** Who wrote what, as counted by earlier runs. */
  readonly #before: Readonly<Record<string, ActorSnapshot>> | undefined;
  readonly #status: StatusFile;
  #page: MetricsPage | null = null;
  #progress: NodeJS.Timeout | undefined;
  #integrity: Integrity | null = null;
  #closed = false;

  constructor(plan: TrailPlan, ledger: OpenLedger) {
    this.#plan = plan;
    this.#ledger = ledger;
    this.#first = ledger.writer.next;
    const statusPath = join(ledger.layout.data, 'status.json');
    this.#before = readStatus<{ actors?: Record<string, ActorSnapshot> }>(statusPath)?.actors;
    this.#status = new StatusFile(statusPath, () => ({
      version: VERSION,
      pid: process.pid,
      ledger: { next: ledger.writer.durable.next, failure: ledger.writer.failure?.code ?? null },
      sources: Object.fromEntries(this.#metrics),
      actors: Object.fromEntries([...this.#actors].map(([name, metrics]) => [name, metrics.snapshot()])),
      // All of the configuration: a start that fails early has made no delivery yet.
      configuredSinks: Object.keys(plan.configuration.sinks),
      sinks: Object.fromEntries([...this.#deliveries].map(([name, delivery]) => [name, delivery.status()])),
    }));
  }

  #figures(): TrailFigures {
    const { durable, failure } = this.#ledger.writer;
    return {
      ledgerNext: durable.next,
      ledgerFailed: failure !== null,
      sources: this.#metrics,
      actors: new Map([...this.#actors].map(([name, metrics]) => [name, metrics.snapshot()])),
      sinks: new Map([...this.#deliveries].map(([name, delivery]) => [name, delivery.status()])),
    };
  }

  async run(): Promise<TrailSummary> {
    const { drain, abort, onProgress } = this.#plan;
    if (onProgress !== undefined) {
      const tell = () => onProgress(this.#changes());
      // After the sources, which listen too, have counted what became durable.
      this.#ledger.writer.onDurable(() => queueMicrotask(tell));
      this.#progress = setInterval(tell, PROGRESS_MS);
    }
    if (this.#ledger.torn > 0) {
      this.#plan.log.warn(
        { event: 'torn_write_cut', bytes: this.#ledger.torn },
        'The last run ended in the middle of a write; the unfinished line was cut, and the source sends it again.',
      );
    }
    abort.addEventListener('abort', () => this.#abort.abort(), { once: true });
    this.#loadDrivers();
    const integrity = await this.#startIntegrity();
    const stop = new AbortController();
    const sources = AbortSignal.any([drain, abort, stop.signal]);
    await this.#startSinks();
    this.#status.start();
    const { metrics } = this.#plan.configuration;
    if (metrics !== undefined) {
      const { startMetricsPage } = await import('./metrics-page.ts');
      this.#page = await startMetricsPage(metrics.listen, () => this.#figures());
    }
    const running = Object.entries(this.#plan.configuration.sources).map(([name, options]) =>
      this.#runSource(name, options, sources),
    );
    const sinksEnded = this.#sinkClosed();
    try {
      // A source that fails for good, or a reader that went away, stops the others in order.
      await Promise.race([Promise.all(running), sinksEnded, integrityFailed(integrity)]);
    } finally {
      stop.abort();
      await Promise.allSettled(running);
    }
    // The last head goes to the sinks too.
    await integrity.finish();
    await this.#drainSinks();
    return { records: this.#ledger.writer.durable.next - this.#first, changes: this.#changes() };
  }

  /** Drivers load while the tree is opened in its thread. One that cannot be loaded is told when its source starts. */
  #loadDrivers(): void {
    const { sources, configuration } = this.#plan;
    for (const { type } of Object.values(configuration.sources)) sources[type]!.load().catch(() => undefined);
  }

  #changes(): number {
    return [...this.#metrics.values()].reduce((sum, metrics) => sum + metrics.changes, 0);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled([...this.#deliveries.values()].map((delivery) => delivery.done));
    await this.#page?.close();
    await this.#integrity?.close();
    this.#status.stop();
    clearInterval(this.#progress);
    this.#closed = true;
    await this.#ledger.close();
  }

  async #startIntegrity(): Promise<Integrity> {
    const { configuration, log } = this.#plan;
    this.#integrity = await startIntegrity({
      ledger: this.#ledger,
      options: configuration.ledger,
      log,
      control: (record) => this.#control(record),
    });
    return this.#integrity;
  }

  #runSource(name: string, options: { type: string }, signal: AbortSignal): Promise<void> {
    const { sources, configuration, log } = this.#plan;
    const factory = sources[options.type]!;
    const metrics: SourceMetrics = {
      changes: 0,
      transactions: 0,
      bytes: 0,
      lagMs: 0,
      state: 'starting',
      lastError: null,
    };
    const actorMetrics = new ActorMetrics(this.#before?.[name]);
    this.#metrics.set(name, metrics);
    this.#actors.set(name, actorMetrics);
    return runSource(
      {
        name,
        engine: factory.engine,
        create: (host) => factory.create(options, host),
        actors: createActorStage({
          source: name,
          options: configuration.actors,
          metrics: actorMetrics,
          usedClaims: readUsedClaims(this.#ledger.layout.segments, name, configuration.actors.claims),
        }),
        writer: this.#ledger.writer,
        reader: this.#ledger.reader,
        positions: this.#ledger.layout.positions,
        log: log.child({ source: name }),
        metrics,
        progressMs: configuration.capture.progress_interval,
        about: { version: VERSION, configuration: configurationHash(configuration) },
      },
      signal,
    );
  }

  async #startSinks(): Promise<void> {
    const { configuration } = this.#plan;
    for (const [name, options] of Object.entries(configuration.sinks)) {
      this.#deliveries.set(name, await this.#startSink(name, options));
    }
  }

  /**
   * Each sink has a thread of its own, so that mapping and compression never slow capture; standard output needs none where
   * it gets the ledger's own bytes.
   */
  async #startSink(name: string, options: { type: string }): Promise<DeliveryHandle> {
    const { sinks, registry, log } = this.#plan;
    const { layout, writer, reader } = this.#ledger;
    const common = {
      name,
      cursorPath: join(layout.cursors, `${name}.json`),
      deadLetterPath: join(layout.deadLetters, `${name}.ndjson`),
      options: options as unknown as DeliveryOptions & { type: string },
      log: log.child({ sink: name }),
      signal: this.#abort.signal,
      control: (record: ControlRecord) => this.#control(record),
    };
    if (options.type !== 'stdout' || (options as { format?: string }).format !== 'native') {
      return startSinkThread({ ...common, type: options.type, registry, segments: layout.segments, writer });
    }
    const sink = await sinks[options.type]!.create(options, { name, log: common.log, now: Date.now });
    return startDelivery({ ...common, sink, reader, metrics: sinkMetrics() });
  }

  /** A record about the ledger itself. What a thread says after the end is not written: nobody could take a throw from here. */
  #control(record: ControlRecord): void {
    const { writer } = this.#ledger;
    if (writer.failure !== null || this.#closed) return;
    const index = writer.next;
    const out = writer.begin();
    out.bytes(
      Buffer.from(controlRecordText(record, { name: 'changetrail', engine: 'changetrail' }, index, Date.now()), 'utf8'),
    );
    writer.end();
  }

  /** Ends the trail in order when the reader of standard output went away; other sinks that fail only stop themselves. */
  #sinkClosed(): Promise<void> {
    return new Promise((resolve) => {
      for (const [name, delivery] of this.#deliveries) {
        delivery.done.catch((error: unknown) => {
          if (error instanceof AuditError && error.code === 'AUD_SINK_CLOSED') resolve();
          else
            this.#plan.log.error(
              {
                event: 'sink_failed',
                sink: name,
                code: (error as AuditError).code,
                action: `${(error as AuditError).action ?? 'Correct the cause.'} The sink starts again with the next run.`,
              },
              `${(error as Error).message} This sink stopped; the ledger and the other sinks go on.`,
            );
        });
      }
    });
  }

  async #drainSinks(): Promise<void> {
    await this.#ledger.writer.flushed();
    const timer = setTimeout(() => this.#abort.abort(), DRAIN_SINKS_MS);
    await Promise.allSettled([...this.#deliveries.values()].map((delivery) => delivery.drain()));
    clearTimeout(timer);
  }
}
