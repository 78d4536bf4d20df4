import { randomUUID } from 'node:crypto';
import type { PostgresOptions } from '../../connectors/postgres/options.ts';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { dataLayout } from '../../src/ledger/layout.ts';
import { runTrail } from '../../src/pipeline/run.ts';
import type { AuditRecord } from '../../src/record/schema.ts';
import { LedgerRecords } from './ledger-records.ts';
import { type MemoryLog, memoryLog } from './memory-log.ts';
import { queryUrl } from './postgres-server.ts';
import { temporaryDirectory } from './tmp.ts';
import { until } from './wait.ts';

export type { AuditRecord } from '../../src/record/schema.ts';

/** Schema of the table whose rows mark places in the log. Captured beside the wanted tables, and left out of the answers. */
const MARKER_SCHEMA = 'changetrail_marker';
const MARKER = `${MARKER_SCHEMA}.mark`;
const WAIT_MS = 120_000;

export interface CaptureOptions {
  /** URL of a user who may create a schema; markers are written with it. */
  readonly url: string;
  /** URL the product logs in with; default `url`. */
  readonly as?: string;
  /** Options of the source over `setup: auto`, `check_interval: 1`, `tables: [public.*]`. */
  readonly source?: Partial<Omit<PostgresOptions, 'type' | 'url'>>;
  /** More of the configuration: `actors`, `ledger`, `capture`, `sinks`. */
  readonly configuration?: object;
  /** Data directory to go on with; default: one of its own, removed at the end. */
  readonly data?: string;
  /**
   * Without a marker table (nothing is created in the database and no pattern is added) `caughtUp` looks at the position
   * that the slot has confirmed, which takes a second longer.
   */
  readonly marker?: boolean;
  /** Resolve at once instead of when the slot is read: for captures that are to fail or wait. */
  readonly waitForStream?: boolean;
}

/** The whole program on one PostgreSQL database, in this process, with a real ledger. */
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
  /** `change` records of the table (or of all tables) after `caughtUp`. */
  changes(table?: string): Promise<AuditRecord[]>;
  /** Waits for the first record that fits; fails when the program ends before. */
  record(fits: (record: AuditRecord) => boolean, what: string): Promise<AuditRecord>;
  /** Ends in order: what was received is durable and confirmed. */
  stop(): Promise<void>;
  /** Ends at once. */
  abort(): Promise<void>;
  /** Starts again on the same ledger, after `stop` or `abort`. */
  start(): Promise<void>;
}

interface Run {
  readonly drain: AbortController;
  readonly abort: AbortController;
  readonly done: Promise<unknown>;
  failure: Error | undefined;
}

/** Captures the database until disposed. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const marker = options.marker ?? true;
  if (marker) {
    await queryUrl(
      options.url,
      `create schema if not exists ${MARKER_SCHEMA}; create table if not exists ${MARKER} (id text primary key)`,
    );
  }
  const directory = options.data === undefined ? await temporaryDirectory() : null;
  const data = options.data ?? directory!.join('data');
  const tables = options.source?.tables ?? ['public.*'];
  const source = {
    type: 'postgres',
    url: options.as ?? options.url,
    setup: 'auto',
    check_interval: 1,
    ...options.source,
    tables: marker ? [...tables, MARKER] : tables,
  };
  const configuration = await checkConfiguration(
    { data, sources: { shop: source }, ...options.configuration },
    data,
    CATALOGS,
    {},
  );
  const ledger = new LedgerRecords(dataLayout(configuration.data).segments);
  const log = memoryLog();
  const slot = String((configuration.sources['shop'] as { slot?: string }).slot ?? 'changetrail_shop');
  let run: Run | undefined;

  const visible = () => ledger.read().filter((record) => record.object.schema !== MARKER_SCHEMA);

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

  const streaming = async () => {
    // A slot that is being made is active too: by the control connection.
    const sql = `select 1 from pg_replication_slots s join pg_stat_activity a on a.pid = s.active_pid
      where s.slot_name = $1 and a.backend_type = 'walsender'`;
    await wait(async () => (await queryUrl(options.url, sql, [slot])).rows.length > 0, `the slot ${slot} to be read`);
  };

  const caughtUp = async () => {
    if (marker) {
      const id = randomUUID();
      await queryUrl(options.url, `insert into ${MARKER} values ($1)`, [id]);
      const isMark = (record: AuditRecord) =>
        record.object.schema === MARKER_SCHEMA && (record.object.key as { id?: string } | undefined)?.id === id;
      await wait(() => ledger.read().findLast(isMark), 'the marker to be in the ledger');
    } else {
      const { rows } = await queryUrl(options.url, 'select pg_current_wal_insert_lsn()::text as lsn');
      const sql = 'select 1 from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn >= $2';
      const passed = async () => (await queryUrl(options.url, sql, [slot, rows[0].lsn])).rows.length > 0;
      await wait(passed, `the slot to pass ${rows[0].lsn}`);
    }
    return visible();
  };

  const start = async () => {
    const [drain, abort] = [new AbortController(), new AbortController()];
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
    if (options.waitForStream ?? true) await streaming();
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
    changes: async (table) =>
      (await caughtUp()).filter(
        (record) => record.kind === 'change' && (table === undefined || record.object.table === table),
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
