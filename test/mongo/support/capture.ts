import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { type MongodbOptions, mongodbOptions } from '../../../connectors/mongodb/options.ts';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../../../src/cli/registry.ts';
import { checkConfiguration } from '../../../src/config/load.ts';
import { dataLayout } from '../../../src/ledger/layout.ts';
import { runTrail } from '../../../src/pipeline/run.ts';
import type { AuditRecord } from '../../../src/record/schema.ts';
import { LedgerRecords } from '../../support/ledger-records.ts';
import { type MemoryLog, memoryLog } from '../../support/memory-log.ts';
import { temporaryDirectory } from '../../support/tmp.ts';
import { until } from '../../support/wait.ts';

export type { AuditRecord } from '../../../src/record/schema.ts';

/** Database whose documents mark places in the stream. Captured beside the wanted collections, left out of the answers. */
const MARKER = 'changetrail_marker';
const WAIT_MS = 120_000;

export interface CaptureOptions {
  /** URL of a user who may write the marker. */
  readonly url: string;
  /** URL the product logs in with; default `url`. */
  readonly as?: string;
  readonly source: Partial<Omit<MongodbOptions, 'type' | 'url'>> & { readonly collections: string[] };
  /** More of the configuration: `actors`, `ledger`, `capture`. */
  readonly configuration?: object;
  /** Data directory to go on with; default: one of its own, removed at the end. */
  readonly data?: string;
  /** Resolve at once instead of when the stream is open: for captures that are to fail or wait. */
  readonly waitForStream?: boolean;
  /** Database of the markers; for `scope: database` it must be the captured one. */
  readonly markerDatabase?: string;
}

/** The whole program on one MongoDB deployment, in this process, with a real ledger. */
export interface Capture extends AsyncDisposable {
  readonly data: string;
  readonly log: MemoryLog;
  /** What ended the program, or undefined while it runs or ended in order. */
  readonly failure: Error | undefined;
  /** Settles when the program ends; rejects with what ended it. */
  readonly done: Promise<unknown>;
  /** What stands in the ledger now, without markers. */
  records(): AuditRecord[];
  /** Waits until everything that is committed by now stands in the ledger; then as `records`. */
  caughtUp(): Promise<AuditRecord[]>;
  /** `change` records (of one collection) after `caughtUp`. */
  changes(collection?: string): Promise<AuditRecord[]>;
  /** Waits for the first record that fits; fails when the program ends before. */
  record(fits: (record: AuditRecord) => boolean, what: string): Promise<AuditRecord>;
  /** Ends in order: what was received is durable. */
  stop(): Promise<void>;
  /** Ends at once. */
  abort(): Promise<void>;
  /** Starts again on the same ledger, after `stop` or `abort`, perhaps with other options. */
  start(source?: Partial<Omit<MongodbOptions, 'type'>>): Promise<void>;
}

interface Run {
  readonly drain: AbortController;
  readonly abort: AbortController;
  readonly done: Promise<unknown>;
  failure: Error | undefined;
}

/** Captures the deployment until disposed. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const directory = options.data === undefined ? await temporaryDirectory() : null;
  const data = options.data ?? directory!.join('data');
  const markers = options.markerDatabase ?? MARKER;
  const markerCollection = 'changetrail_marks';
  const marker = `${markers}.${markerCollection}`;
  const ledger = new LedgerRecords(dataLayout(data).segments);
  const log = memoryLog();
  const isMarker = (record: AuditRecord) =>
    record.object.database === markers && record.object.collection === markerCollection;
  const visible = () => ledger.read().filter((record) => !isMarker(record));
  let run: Run | undefined;

  /** Asks again and again, but not after the program ended. */
  const wait = async <T>(condition: () => T | Promise<T>, what: string) => {
    const found = await until(
      async () => {
        const value = await condition();
        if (value) return { value };
        return run?.failure !== undefined && { failure: run.failure };
      },
      { what, timeoutMs: WAIT_MS },
    );
    if ('failure' in found) throw found.failure;
    return found.value as Exclude<T, false | 0 | '' | null | undefined>;
  };

  const caughtUp = async () => {
    const id = randomUUID();
    await using client = new MongoClient(options.url);
    await client
      .db(markers)
      .collection<{ _id: string }>(markerCollection)
      .insertOne({ _id: id }, { writeConcern: { w: 'majority' } });
    const isMark = (record: AuditRecord) =>
      isMarker(record) && (record.object.key as { _id?: string } | undefined)?._id === id;
    await wait(() => ledger.read().findLast(isMark), 'the marker to be in the ledger');
    return visible();
  };

  const start = async (more: Partial<Omit<MongodbOptions, 'type'>> = {}) => {
    const source = mongodbOptions.parse({
      type: 'mongodb',
      url: options.as ?? options.url,
      users_interval: 5,
      ...options.source,
      ...more,
      collections: [...(more.collections ?? options.source.collections), marker],
    });
    const configuration = await checkConfiguration(
      { data, sources: { docs: source }, ...options.configuration },
      data,
      CATALOGS,
      {},
    );
    const [drain, abort] = [new AbortController(), new AbortController()];
    const before = log.count('opened');
    const done = runTrail({
      configuration,
      sources: SOURCES,
      sinks: SINKS,
      registry: REGISTRY_URL,
      log: log.log,
      drain: drain.signal,
      abort: abort.signal,
    });
    const started: Run = { drain, abort, done, failure: undefined };
    done.catch((error: Error) => {
      started.failure = error;
    });
    run = started;
    if (options.waitForStream ?? true) await wait(() => log.count('opened') > before, 'the stream to be opened');
  };

  const end = async (how: 'drain' | 'abort') => {
    run?.[how].abort();
    await run?.done.catch(() => undefined);
  };

  try {
    await start();
  } catch (error) {
    await end('abort');
    await directory?.[Symbol.asyncDispose]();
    throw error;
  }
  return {
    data,
    log,
    get failure() {
      return run?.failure;
    },
    get done() {
      return run?.done ?? Promise.resolve();
    },
    records: visible,
    caughtUp,
    changes: async (collection) =>
      (await caughtUp()).filter(
        (record) => record.kind === 'change' && (collection === undefined || record.object.collection === collection),
      ),
    record: (fits, what) => wait(() => visible().find(fits), what),
    stop: () => end('drain'),
    abort: () => end('abort'),
    start,
    async [Symbol.asyncDispose]() {
      await end('drain');
      try {
        // Also what nobody asked for is a valid record.
        ledger.read();
      } finally {
        await directory?.[Symbol.asyncDispose]();
      }
    },
  };
}
