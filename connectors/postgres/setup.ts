// What would have to be done to the source, as exact SQL, and the doing of it.
import { type ControlClient, quoteIdent, quoteLiteral } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import type { CatalogTable, TableName, WantedTable } from './tables.ts';

export interface PublicationState {
  readonly oid: number;
  readonly name: string;
  readonly allTables: boolean;
  readonly viaRoot: boolean;
  /** What it publishes, as its `publish` option says it: `insert, update, delete, truncate`. */
  readonly publish: string;
  /** Whether stored generated columns are published; null before version 18, which cannot. */
  readonly generated: boolean | null;
  /** OIDs of the tables named in it. */
  readonly tables: ReadonlySet<number>;
}

const PUBLICATION_SQL = `
select p.oid::int8::text as oid, p.pubname as name, p.puballtables as all_tables, p.pubviaroot as via_root,
  concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end) as publish,
  to_jsonb(p) ->> 'pubgencols' as generated,
  coalesce((select array_agg(r.prrelid::int8::text) from pg_catalog.pg_publication_rel r where r.prpubid = p.oid), '{}') as tables
from pg_catalog.pg_publication p where p.pubname = any($1::name[])`;

export async function readPublications(
  client: ControlClient,
  names: readonly string[],
): Promise<Map<string, PublicationState>> {
  const rows = await client.query<{
    oid: string;
    name: string;
    all_tables: boolean;
    via_root: boolean;
    publish: string;
    generated: string | null;
    tables: string[];
  }>(PUBLICATION_SQL, [names]);
  return new Map(
    rows.map((row) => [
      row.name,
      {
        oid: Number(row.oid),
        name: row.name,
        allTables: row.all_tables,
        viaRoot: row.via_root,
        publish: row.publish,
        generated: row.generated === null ? null : row.generated === 's',
        tables: new Set(row.tables.map(Number)),
      },
    ]),
  );
}

/** What is to be done, in order, and what it means for the tables. */
export interface SetupPlan {
  readonly statements: readonly string[];
  readonly added: readonly WantedTable[];
  /** Added tables that were published with a table they are a partition of, and whether with all their changes. */
  readonly covered: ReadonlyMap<number, 'all' | 'insert'>;
  /** OIDs that leave the publications. */
  readonly removed: readonly number[];
  /** True when the main publication is there but does not publish every kind of change: somebody altered it. */
  readonly narrowed: boolean;
  /** True when a publication does not exist at all. */
  readonly creates: boolean;
}

export interface PlanInput {
  readonly options: ResolvedPostgres;
  readonly serverMajor: number;
  readonly wanted: readonly WantedTable[];
  readonly publications: ReadonlyMap<string, PublicationState>;
  /** OID of every table in the database: one that is gone needs no statement. */
  readonly existing: ReadonlySet<number>;
  readonly tableOf: (oid: number) => CatalogTable | undefined;
}

/**
 * The difference between the publications as they are and as the patterns want them. Never FOR ALL TABLES: that would take
 * away the choice, and make every later table without a key fail its writers.
 */
export function planPublications(input: PlanInput): SetupPlan {
  const { options, wanted, publications } = input;
  const main = publications.get(options.publication);
  const second = publications.get(options.insertPublication);
  const statements: string[] = [];
  for (const table of wanted.flatMap((one) => one.makeFull)) {
    statements.push(`alter table ${qualified(table)} replica identity full`);
  }
  const safe = wanted.filter((table) => table.allChanges);
  const limited = wanted.filter((table) => !table.allChanges);
  const one = publication(input, options.publication, main, safe, ALL_CHANGES);
  // The second one from the start, also while it is empty: a stream reads only publications that were there before it.
  const two =
    limited.length > 0 || second !== undefined || main === undefined
      ? publication(input, options.insertPublication, second, limited, INSERT_ONLY)
      : NOTHING;
  // A table that moves is taken out of the one that makes its writes fail before anything else.
  statements.push(...one.drops, ...two.drops, ...one.adds, ...two.adds);
  const published = new Set([...(main?.tables ?? []), ...(second?.tables ?? [])]);
  const wantedOids = new Set(wanted.map((table) => table.oid));
  const added = main?.allTables === true ? [] : wanted.filter((table) => !published.has(table.oid));
  const covered = new Map<number, 'all' | 'insert'>();
  for (const { oid } of added) {
    const ancestors = input.tableOf(oid)?.ancestors ?? [];
    if (ancestors.some((ancestor) => main?.tables.has(ancestor))) covered.set(oid, 'all');
    else if (ancestors.some((ancestor) => second?.tables.has(ancestor))) covered.set(oid, 'insert');
  }
  return {
    statements,
    added,
    covered,
    removed: main?.allTables === true ? [] : [...published].filter((oid) => !wantedOids.has(oid)),
    narrowed: main !== undefined && main.publish !== ALL_CHANGES,
    creates: main === undefined,
  };
}

const ALL_CHANGES = 'insert, update, delete, truncate';
const INSERT_ONLY = 'insert, truncate';

interface Statements {
  readonly adds: readonly string[];
  readonly drops: readonly string[];
}

const NOTHING: Statements = { adds: [], drops: [] };

function publication(
  input: PlanInput,
  name: string,
  state: PublicationState | undefined,
  tables: readonly WantedTable[],
  publish: string,
): Statements {
  if (state === undefined) {
    const list = tables.length === 0 ? '' : ` for table ${tables.map(only).join(', ')}`;
    const settings = publicationOptions(input, publish, undefined);
    return { adds: [`create publication ${quoteIdent(name)}${list} with (${settings})`], drops: [] };
  }
  if (state.allTables) return NOTHING;
  const adds = tables.filter((table) => !state.tables.has(table.oid));
  const keep = new Set(tables.map((table) => table.oid));
  const drops = [...state.tables].filter((oid) => !keep.has(oid) && input.existing.has(oid));
  const statements: string[] = [];
  const settings = publicationOptions(input, publish, state);
  if (settings !== '') statements.push(`alter publication ${quoteIdent(name)} set (${settings})`);
  if (adds.length > 0) statements.push(`alter publication ${quoteIdent(name)} add table ${adds.map(only).join(', ')}`);
  return {
    adds: statements,
    drops: drops.flatMap((oid) => {
      const table = input.tableOf(oid);
      return table === undefined ? [] : [`alter publication ${quoteIdent(name)} drop table ${only(table)}`];
    }),
  };
}

/** Options of a publication that are not as they should be; all of them for a new one. */
function publicationOptions(input: PlanInput, publish: string, state: PublicationState | undefined): string {
  const viaRoot = input.options.partitions === 'root';
  const options: string[] = [];
  if (state?.publish !== publish && (state !== undefined || publish !== ALL_CHANGES)) {
    options.push(`publish = '${publish}'`);
  }
  if (state?.viaRoot !== viaRoot) options.push(`publish_via_partition_root = ${viaRoot}`);
  // Without it 18 would refuse UPDATE and DELETE on a table with REPLICA IDENTITY FULL and a stored generated column.
  if (input.serverMajor >= 18 && state?.generated !== true) options.push('publish_generated_columns = stored');
  return options.join(', ');
}

export function slotStatement(slot: string): string {
  return `select pg_create_logical_replication_slot(${quoteLiteral(slot)}, 'pgoutput')`;
}

export function dropSlotStatement(slot: string): string {
  return `select pg_drop_replication_slot(${quoteLiteral(slot)})`;
}

export function qualified(table: TableName): string {
  return `${quoteIdent(table.schema)}.${quoteIdent(table.table)}`;
}

/** Without ONLY the tables that inherit from it would come with it, whatever their own replica identity is. */
function only(table: TableName): string {
  return `only ${qualified(table)}`;
}

/** No lock is waited for longer than this, so that nobody queues behind us. */
const LOCK_TIMEOUT = "set local lock_timeout = '3s'";

/** Runs the statements in one transaction: all or none. @throws AUD_PG_RIGHTS, AUD_PG_SERVER */
export async function applyStatements(client: ControlClient, statements: readonly string[]): Promise<void> {
  if (statements.length === 0) return;
  await client.query('begin');
  try {
    await client.query(LOCK_TIMEOUT);
    for (const statement of statements) await client.query(statement);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}
