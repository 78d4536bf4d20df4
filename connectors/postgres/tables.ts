// What the catalog says of the tables a source wants, and which of them can be published without hurting anybody.
import type { ControlClient } from './client.ts';
import type { TableMatcher } from './patterns.ts';

export interface CatalogTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly partitioned: boolean;
  /** OID of the topmost table it is a partition of, or 0. */
  readonly root: number;
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
  case when c.relispartition then coalesce(pg_catalog.pg_partition_root(c.oid)::oid::int8, 0) else 0 end as root,
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
  const rows = await client.query<CatalogTable & { oid: string; root: string }>(TABLES_SQL);
  return rows.map((row) => ({ ...row, oid: Number(row.oid), root: Number(row.root) }));
}

/** A table as it will be published. */
export interface WantedTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  /** False: only INSERT and TRUNCATE can be published; the reason says why. */
  readonly allChanges: boolean;
  readonly reason: LimitReason | null;
  /** True when `alter table … replica identity full` belongs to the plan. */
  readonly makeFull: boolean;
}

export type LimitReason = 'no_replica_identity' | 'generated_columns';

export interface TableSelection {
  readonly wanted: readonly WantedTable[];
  /** Tables the patterns fit that are not in the log at all. */
  readonly unlogged: readonly { readonly schema: string; readonly table: string }[];
  readonly unusedPatterns: readonly string[];
}

export interface SelectionOptions {
  readonly matcher: TableMatcher;
  readonly serverMajor: number;
  readonly makeFull: boolean;
}

/**
 * The tables to publish. A partition comes with its partitioned table; on its own only where the patterns name it and not
 * the table.
 */
export function selectTables(tables: readonly CatalogTable[], options: SelectionOptions): TableSelection {
  const { matcher } = options;
  const fits = (table: CatalogTable) => matcher.matches(table.schema, table.table);
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const chosen = tables.filter((table) => {
    if (!fits(table)) return false;
    const root = byOid.get(table.root);
    return root === undefined || !fits(root);
  });
  const partitions = Map.groupBy(
    tables.filter((table) => table.root !== 0 && !table.partitioned),
    (table) => table.root,
  );
  return {
    wanted: chosen
      .filter((table) => table.logged)
      .map((table) => wanted(table, partitions.get(table.oid) ?? [], options)),
    unlogged: chosen.filter((table) => !table.logged),
    unusedPatterns: matcher.unused(tables),
  };
}

function wanted(table: CatalogTable, partitions: readonly CatalogTable[], options: SelectionOptions): WantedTable {
  const all = [table, ...partitions];
  const makeFull =
    options.makeFull && all.every((t) => canBeFull(t, options.serverMajor)) && all.some((t) => t.identity !== 'f');
  const reasons = makeFull ? [] : all.map((t) => limit(t, options.serverMajor)).filter((reason) => reason !== null);
  return {
    oid: table.oid,
    schema: table.schema,
    table: table.table,
    allChanges: reasons.length === 0,
    reason: reasons[0] ?? null,
    makeFull,
  };
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

function canBeFull(table: CatalogTable, serverMajor: number): boolean {
  return serverMajor < 18 || !table.generated_virtual;
}
