// What the catalog says of the tables a source wants, and which of them can be published without hurting anybody.
import type { ControlClient } from './client.ts';
import type { TableMatcher } from './patterns.ts';

export interface CatalogTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly partitioned: boolean;
  /** OIDs of the tables it is a partition of, the topmost last. */
  readonly ancestors: readonly number[];
  readonly identity: 'd' | 'n' | 'f' | 'i';
  /** A primary key, valid and not deferrable: what REPLICA IDENTITY DEFAULT needs. */
  readonly primary_key: boolean;
  readonly identity_index: boolean;
  readonly generated_stored: boolean;
  readonly generated_virtual: boolean;
  /** Unlogged and temporary tables are not in the log. */
  readonly logged: boolean;
}

const TABLES_SQL = `
select c.oid::int8::int8 as oid, n.nspname as schema, c.relname as table, c.relkind = 'p' as partitioned,
  case when c.relispartition then array(
    select a.relid::oid::int8::text from pg_catalog.pg_partition_ancestors(c.oid) with ordinality as a(relid, place)
    where a.relid <> c.oid order by place) else '{}' end as ancestors,
  c.relreplident as identity,
  exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid and i.indimmediate) as primary_key,
  exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as identity_index,
  exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = 's') as generated_stored,
  exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = 'v') as generated_virtual,
  c.relpersistence = 'p' as logged
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 2, 3`;

export async function readTables(client: ControlClient): Promise<CatalogTable[]> {
  const rows = await client.query<CatalogTable & { oid: string; ancestors: string[] }>(TABLES_SQL);
  return rows.map((row) => ({ ...row, oid: Number(row.oid), ancestors: row.ancestors.map(Number) }));
}

/** Locks of transactions that are this old are waited for in vain, probably. */
const HELD_MS = 1_000;

const HELD_SQL = `
select distinct l.relation::int8::text as oid from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_catalog.pg_backend_pid() and l.relation = any($1::oid[])
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and (l.pid is null or a.xact_start is null or a.xact_start < pg_catalog.clock_timestamp() - interval '${HELD_MS} ms')`;

/**
 * Tables that transactions have used for a while and still hold. ALTER TABLE would wait for them, and everybody else behind it:
 * a report that runs for an hour would have the application stand still again and again. How old the transaction of another role is
 * takes pg_read_all_stats to see; without it, it may be old.
 */
export async function heldTables(client: ControlClient, oids: readonly number[]): Promise<Set<number>> {
  if (oids.length === 0) return new Set();
  const rows = await client.query<{ oid: string }>(HELD_SQL, [oids]);
  return new Set(rows.map(({ oid }) => Number(oid)));
}

/** A table as it will be published. */
export interface WantedTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  /** False: it is published with INSERT and TRUNCATE only. */
  readonly allChanges: boolean;
  /** Why UPDATE and DELETE are not seen; null when they are (of a partitioned table: under its partitions). */
  readonly reason: LimitReason | null;
  /** Tables that the plan is to give REPLICA IDENTITY FULL: itself, or its partitions. */
  readonly makeFull: readonly TableName[];
}

export interface TableName {
  readonly schema: string;
  readonly table: string;
}

export type LimitReason =
  /** No primary key that is not deferrable, and no replica identity. */
  | 'no_replica_identity'
  /** REPLICA IDENTITY FULL with a virtual generated column, which PostgreSQL 18 refuses. */
  | 'generated_columns'
  /** Recorded under the partitioned table, which has no primary key: a later partition would have no replica identity. */
  | 'partitions_without_key'
  /** Recorded under the partitioned table, but a partition has an index as its replica identity: its keys would be misread. */
  | 'partition_identity';

export interface TableSelection {
  readonly wanted: readonly WantedTable[];
  /** Tables the patterns fit that are not in the log at all. */
  readonly unlogged: readonly TableName[];
  readonly unusedPatterns: readonly string[];
}

export interface SelectionOptions {
  readonly matcher: TableMatcher;
  readonly serverMajor: number;
  readonly makeFull: boolean;
  /** OIDs of tables that cannot be altered now without making everybody wait. */
  readonly held: ReadonlySet<number>;
  /** Whether changes of partitions are recorded under the partition or under the topmost table. */
  readonly partitions: 'leaf' | 'root';
}

/**
 * The tables to publish. A partition comes with its partitioned table; on its own only where the patterns name it and no
 * table above it.
 */
export function selectTables(tables: readonly CatalogTable[], options: SelectionOptions): TableSelection {
  const { matcher } = options;
  const fitting = new Set(tables.filter((table) => matcher.matches(table.schema, table.table)).map(({ oid }) => oid));
  const chosen = tables.filter(
    (table) => fitting.has(table.oid) && !table.ancestors.some((ancestor) => fitting.has(ancestor)),
  );
  // Partitions that are not in the log are not published, so nothing can fail on them.
  const leavesOf = (table: CatalogTable) =>
    tables.filter((leaf) => leaf.logged && !leaf.partitioned && leaf.ancestors.includes(table.oid));
  return {
    wanted: chosen
      .filter((table) => table.logged)
      .flatMap((table) => (table.partitioned ? partitioned(table, leavesOf(table), options) : [plain(table, options)])),
    unlogged: chosen.filter((table) => !table.logged),
    unusedPatterns: matcher.unused(tables),
  };
}

function plain(table: CatalogTable, options: SelectionOptions): WantedTable {
  const full = toBeFull(table, options);
  const reason = full ? null : limit(table, options.serverMajor);
  return wanted(table, { allChanges: reason === null, reason, makeFull: full ? [table] : [] });
}

/**
 * A partition made later has the primary key of its table, but never its replica identity. So without such a key the table
 * itself is published with INSERT only, and what can be beside it, partition by partition.
 */
function partitioned(table: CatalogTable, leaves: readonly CatalogTable[], options: SelectionOptions): WantedTable[] {
  const parts = leaves.map((leaf) => plain(leaf, options));
  const safe = table.primary_key && parts.every((part) => part.allChanges);
  const makeFull = parts.flatMap((part) => part.makeFull);
  if (options.partitions === 'leaf') {
    if (safe) return [wanted(table, { allChanges: true, reason: null, makeFull })];
    return [wanted(table, { allChanges: false, reason: null, makeFull: [] }), ...parts];
  }
  const misread = leaves.some((leaf) => leaf.identity === 'i' && !toBeFull(leaf, options))
    ? 'partition_identity'
    : null;
  const broken = parts.find((part) => !part.allChanges)?.reason ?? null;
  const reason = broken ?? (safe ? misread : 'partitions_without_key');
  // The server tells whether an old row is whole by the identity of the table, not of the partition.
  const root = toBeFull(table, options) ? [table] : [];
  return [wanted(table, { allChanges: reason === null, reason, makeFull: [...root, ...makeFull] })];
}

function wanted(table: CatalogTable, how: Pick<WantedTable, 'allChanges' | 'reason' | 'makeFull'>): WantedTable {
  return { oid: table.oid, schema: table.schema, table: table.table, ...how };
}

/**
 * Why UPDATE and DELETE on the table would fail once they were published, or null. PostgreSQL refuses them on a published
 * table without a replica identity; from 18 on also with REPLICA IDENTITY FULL and a virtual generated column (stored ones
 * are published with it).
 * @see https://www.postgresql.org/docs/current/logical-replication-publication.html#LOGICAL-REPLICATION-PUBLICATION-REPLICA-IDENTITY
 */
function limit(table: CatalogTable, serverMajor: number): LimitReason | null {
  if (table.identity === 'f') return canBeFull(table, serverMajor) ? null : 'generated_columns';
  const usable = table.identity === 'd' ? table.primary_key : table.identity === 'i' && table.identity_index;
  return usable ? null : 'no_replica_identity';
}

function toBeFull(table: CatalogTable, { makeFull, held, serverMajor }: SelectionOptions): boolean {
  return makeFull && table.identity !== 'f' && canBeFull(table, serverMajor) && !held.has(table.oid);
}

function canBeFull(table: CatalogTable, serverMajor: number): boolean {
  return serverMajor < 18 || !table.generated_virtual;
}

const LIMITS: Readonly<Record<LimitReason, { readonly text: string; readonly fix: (name: string) => string }>> = {
  no_replica_identity: {
    text: 'it, or a partition of it, has no primary key and no replica identity',
    fix: (name) => `alter table ${name} replica identity full`,
  },
  generated_columns: {
    text: 'it has REPLICA IDENTITY FULL and a virtual generated column',
    fix: (name) => `alter table ${name} replica identity default`,
  },
  partitions_without_key: {
    text: 'it has no primary key that later partitions would inherit',
    fix: (name) => `alter table ${name} add primary key (…)`,
  },
  partition_identity: {
    text: 'a partition of it has an index as replica identity',
    fix: () => 'alter table <partition> replica identity default',
  },
};

/** The reason in words, and the statement that ends it. `name`: the table, quoted. */
export function describeLimit(reason: LimitReason, name: string): { readonly text: string; readonly fix: string } {
  const { text, fix } = LIMITS[reason];
  return { text, fix: fix(name) };
}
