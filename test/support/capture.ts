import { randomUUID } from 'node:crypto';
import type { PostgresOptions } from '../../connectors/postgres/options.ts';
import { queryUrl } from './postgres-server.ts';
import { type AuditRecord, beginCapture, type TrailCapture, TrailRun } from './trail-run.ts';

export type { AuditRecord } from './trail-run.ts';

/** Schema of the table whose rows mark places in the log. Captured beside the wanted tables, and left out of the answers. */
const MARKER_SCHEMA = 'changetrail_marker';
const MARKER = `${MARKER_SCHEMA}.mark`;

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

/** The whole program on one PostgreSQL database. */
export type Capture = TrailCapture;

/** Captures the database until disposed. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const { url, data, configuration } = options;
  const marker = options.marker ?? true;
  if (marker) {
    await queryUrl(
      url,
      `create schema if not exists ${MARKER_SCHEMA}; create table if not exists ${MARKER} (id text primary key)`,
    );
  }
  const isMarker = (record: AuditRecord) => record.object.schema === MARKER_SCHEMA;
  const run = await TrailRun.prepare({ data, configuration, isMarker });
  const tables = options.source?.tables ?? ['public.*'];
  const source = {
    type: 'postgres',
    url: options.as ?? url,
    setup: 'auto',
    check_interval: 1,
    ...options.source,
    tables: marker ? [...tables, MARKER] : tables,
  };
  const slot = options.source?.slot ?? 'changetrail_shop';

  const start = async () => {
    await run.launch('shop', source);
    if (options.waitForStream === false) return;
    // A slot that is being made is active too: by the control connection.
    const sql = `select 1 from pg_replication_slots s join pg_stat_activity a on a.pid = s.active_pid
      where s.slot_name = $1 and a.backend_type = 'walsender'`;
    await run.wait(async () => (await queryUrl(url, sql, [slot])).rows.length > 0, `the slot ${slot} to be read`);
  };
  const catchUp = () => (marker ? toMarker(run, url, isMarker) : toPosition(run, url, slot));
  return beginCapture<[]>({ run, start, catchUp, nameOf: (record) => record.object.table });
}

async function toMarker(run: TrailRun, url: string, isMarker: (record: AuditRecord) => boolean): Promise<void> {
  const id = randomUUID();
  await queryUrl(url, `insert into ${MARKER} values ($1)`, [id]);
  const isMark = (record: AuditRecord) =>
    isMarker(record) && (record.object.key as { id?: string } | undefined)?.id === id;
  await run.wait(() => run.all().findLast(isMark), 'the marker to be in the ledger');
}

async function toPosition(run: TrailRun, url: string, slot: string): Promise<void> {
  const { rows } = await queryUrl(url, 'select pg_current_wal_insert_lsn()::text as lsn');
  const sql = 'select 1 from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn >= $2';
  const passed = async () => (await queryUrl(url, sql, [slot, rows[0].lsn])).rows.length > 0;
  await run.wait(passed, `the slot to pass ${rows[0].lsn}`);
}
