// What would have to be done to the source, as exact SQL, and the doing of it.
import { AuditError } from '../../src/errors/audit-error.ts';
import { type ControlClient, quoteIdent, quoteLiteral } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import type { PublicationState, Restriction } from './publications.ts';
import type { CatalogTable, TableName, WantedTable } from './tables.ts';

/** What is to be done, in order, and what it means for the tables. */
export interface SetupPlan {
  readonly statements: readonly string[];
  /** The same apart, table by table; none where a publication is to be created. */
  readonly steps: readonly SetupStep[];
  readonly added: readonly WantedTable[];
  /** Added tables that were published with a table they are a partition of, and whether with all their changes. */
  readonly covered: ReadonlyMap<number, 'all' | 'insert'>;
  /** OIDs that leave the publications. */
  readonly removed: readonly number[];
  /** Publications that are there but do not publish every kind of change they should: somebody altered them. */
  readonly narrowed: readonly NarrowedPublication[];
  /** Wanted tables of which a publication leaves rows or columns out. */
  readonly restricted: readonly RestrictedTable[];
  /** True when a publication does not exist at all. */
  readonly creates: boolean;
}

/** What can be done for one table, or one tree of partitions, whatever becomes of the others. */
export interface SetupStep {
  /** None: it is about whole schemas. */
  readonly oids: readonly number[];
  /** Transactions, each of which needs the one before. */
  readonly parts: readonly (readonly string[])[];
  /** Of a tree in which writes fail until a partition that has lost its key is out: what is done where all at once cannot be. */
  readonly apart: readonly SetupStep[];
}

/** The tables that the steps are about. */
export function tablesOf({ steps }: SetupPlan): Set<number> {
  return new Set(steps.flatMap(({ oids }) => oids));
}

export interface NarrowedPublication {
  readonly publication: string;
  /** Kinds of changes that are not sent: `update`, `truncate` … */
  readonly notSeen: readonly string[];
  /** Whether the plan's statements put it right; a publication FOR ALL TABLES is its owner's, and stays as it is. */
  readonly mended: boolean;
}

export interface RestrictedTable extends Restriction {
  readonly table: WantedTable;
  readonly publication: string;
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
  const statements = wanted.flatMap((table) => makeFull(table));
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
  const published = new Set([...(main?.tables.keys() ?? []), ...(second?.tables.keys() ?? [])]);
  const schemas = new Set([...(main?.schemas ?? []), ...(second?.schemas ?? [])]);
  const wantedOids = new Set(wanted.map((table) => table.oid));
  const added =
    main?.allTables === true ? [] : wanted.filter(({ oid, schema }) => !published.has(oid) && !schemas.has(schema));
  const covered = new Map<number, 'all' | 'insert'>();
  for (const { oid } of added) {
    const ancestors = input.tableOf(oid)?.ancestors ?? [];
    if (ancestors.some((ancestor) => main?.tables.has(ancestor))) covered.set(oid, 'all');
    else if (ancestors.some((ancestor) => second?.tables.has(ancestor))) covered.set(oid, 'insert');
  }
  return {
    statements,
    steps: main === undefined || two.creates ? [] : steps(input, one, two),
    added,
    covered,
    removed: main?.allTables === true ? [] : [...published].filter((oid) => !wantedOids.has(oid)),
    narrowed: [...narrowed(main, ALL_CHANGES), ...(limited.length > 0 ? narrowed(second, INSERT_ONLY) : [])],
    restricted: [...restricted(main, safe), ...restricted(second, limited)],
    creates: main === undefined,
  };
}

function narrowed(state: PublicationState | undefined, publish: string): NarrowedPublication[] {
  if (state === undefined) return [];
  const has = new Set(state.publish.split(', '));
  const notSeen = publish.split(', ').filter((kind) => !has.has(kind));
  return notSeen.length === 0 ? [] : [{ publication: state.name, notSeen, mended: !state.allTables }];
}

function restricted(state: PublicationState | undefined, tables: readonly WantedTable[]): RestrictedTable[] {
  return tables.flatMap((table) => {
    const restriction = state?.tables.get(table.oid) ?? null;
    return restriction === null ? [] : [{ table, publication: state!.name, ...restriction }];
  });
}

const ALL_CHANGES = 'insert, update, delete, truncate';
const INSERT_ONLY = 'insert, truncate';

interface Statements {
  readonly adds: readonly string[];
  readonly drops: readonly string[];
  /** Of single tables, by OID: those that are in `adds` and `drops` together. */
  readonly addOf: ReadonlyMap<number, string>;
  readonly dropOf: ReadonlyMap<number, string>;
  /** The others in `drops`. */
  readonly schemaDrops: readonly string[];
  readonly creates: boolean;
}

const NOTHING: Statements = {
  adds: [],
  drops: [],
  addOf: new Map(),
  dropOf: new Map(),
  schemaDrops: [],
  creates: false,
};

function makeFull(table: WantedTable | undefined): string[] {
  return (table?.makeFull ?? []).map((one) => `alter table ${qualified(one)} replica identity full`);
}

/** Options of the publications are no step: they may make writes fail on a table that has not left yet. */
function steps({ wanted, tableOf }: PlanInput, one: Statements, two: Statements): SetupStep[] {
  const tables = new Map(wanted.map((table) => [table.oid, table]));
  const full = wanted.filter(({ makeFull: toAlter }) => toAlter.length > 0).map(({ oid }) => oid);
  const moving = new Set([
    ...one.dropOf.keys(),
    ...two.dropOf.keys(),
    ...full,
    ...one.addOf.keys(),
    ...two.addOf.keys(),
  ]);
  const trees = new Map<number, number[]>();
  for (const oid of moving) {
    const top = tableOf(oid)?.ancestors.findLast((ancestor) => moving.has(ancestor)) ?? oid;
    trees.set(top, [...(trees.get(top) ?? []), oid]);
  }
  const single = (oid: number) => ofTable(oid, tables.get(oid), one, two);
  const ofTables = [...trees].map(([top, oids]) => {
    if (oids.length === 1) return single(top);
    const alters = oids.flatMap((oid) => makeFull(tables.get(oid)));
    const moves = [one.dropOf, two.dropOf, one.addOf, two.addOf].flatMap((of) => oids.flatMap((oid) => moved(of, oid)));
    const fails = one.dropOf.has(top) && oids.some((oid) => (tables.get(oid)?.reason ?? null) !== null);
    // The partitions first: of one that is in its publication already nothing is lost when the table above it moves.
    const apart = fails ? [...oids.filter((oid) => oid !== top), top].map(single) : [];
    return { oids, parts: [...alters.map((alter) => [alter]), moves], apart };
  });
  const ofSchemas = { oids: [], parts: [[...one.schemaDrops, ...two.schemaDrops]], apart: [] };
  return [ofSchemas, ...ofTables]
    .map((step) => ({ ...step, parts: step.parts.filter((part) => part.length > 0) }))
    .filter(({ parts }) => parts.length > 0);
}

/** The table is always in one of the publications, unless it has a row filter or a column list: then a gap is said anyway. */
function ofTable(oid: number, table: WantedTable | undefined, one: Statements, two: Statements): SetupStep {
  const alters = makeFull(table).map((alter) => [alter]);
  const intoTwo = moved(two.addOf, oid);
  const outOfTwo = moved(two.dropOf, oid);
  // Out of the publication that makes its writes fail also while its readers keep it from being altered.
  const before = [...moved(one.dropOf, oid), ...(intoTwo.length > 0 ? outOfTwo : []), ...intoTwo];
  const after = [...(intoTwo.length > 0 ? [] : outOfTwo), ...moved(one.addOf, oid)];
  const parts = alters.length > 0 ? [before, ...alters, after] : [[...before, ...after]];
  return { oids: [oid], parts, apart: [] };
}

function moved(moves: ReadonlyMap<number, string>, oid: number): string[] {
  const statement = moves.get(oid);
  return statement === undefined ? [] : [statement];
}

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
    return { ...NOTHING, adds: [`create publication ${quoteIdent(name)}${list} with (${settings})`], creates: true };
  }
  if (state.allTables) return NOTHING;
  // A table that is published with a filter or a column list is taken out and put back: there is no other way to lift them.
  const adds = tables.filter((table) => state.tables.get(table.oid) !== null);
  const keep = new Set(tables.flatMap(({ oid }) => (state.tables.get(oid) === null ? [oid] : [])));
  const drops = [...state.tables.keys()].filter((oid) => !keep.has(oid) && input.existing.has(oid));
  const statements: string[] = [];
  const settings = publicationOptions(input, publish, state);
  if (settings !== '') statements.push(`alter publication ${quoteIdent(name)} set (${settings})`);
  const add = `alter publication ${quoteIdent(name)} add table`;
  if (adds.length > 0) statements.push(`${add} ${adds.map(only).join(', ')}`);
  const dropOf = new Map<number, string>();
  for (const oid of drops) {
    const table = input.tableOf(oid);
    if (table !== undefined) dropOf.set(oid, `alter publication ${quoteIdent(name)} drop table ${only(table)}`);
  }
  // Every later table of the schema would come with it, and one without a key would fail its writers.
  const schemaDrops = state.schemas.map(
    (schema) => `alter publication ${quoteIdent(name)} drop tables in schema ${quoteIdent(schema)}`,
  );
  return {
    creates: false,
    addOf: new Map(adds.map((table) => [table.oid, `${add} ${only(table)}`])),
    dropOf,
    schemaDrops,
    adds: statements,
    drops: [...schemaDrops, ...dropOf.values()],
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

/** A publication's statements keep nobody from reading or writing while they wait for a lock. */
const LOCK_WAIT_MS = 3_000;
/** Behind any other statement that waits, everybody waits; and of one table among many some are known to be locked. */
const LOCK_WAIT_SHORT_MS = 500;
const HARMLESS = /^(create|alter) publication /;

/**
 * Runs the statements in one transaction: all or none.
 * @throws AUD_PG_RIGHTS, AUD_PG_SERVER
 */
export async function applyStatements(
  client: ControlClient,
  statements: readonly string[],
  lockWaitMs = statements.every((statement) => HARMLESS.test(statement)) ? LOCK_WAIT_MS : LOCK_WAIT_SHORT_MS,
): Promise<void> {
  if (statements.length === 0) return;
  await client.query('begin');
  try {
    await client.query(`set local lock_timeout = ${lockWaitMs}`);
    for (const statement of statements) await client.query(statement);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

const ALTERS = /^alter table /;

/** Does all of it. Each table is altered in a transaction of its own, so that nobody waits behind one while another is waited for. */
export async function applyPlan(client: ControlClient, { statements }: SetupPlan): Promise<void> {
  const alters = statements.filter((statement) => ALTERS.test(statement));
  for (const alter of alters) await applyStatements(client, [alter]);
  await applyStatements(
    client,
    statements.filter((statement) => !ALTERS.test(statement)),
  );
}

/** Does what can be done while somebody holds a lock on some of the tables; rejects with anything but that. */
export async function applyApart(client: ControlClient, { steps }: Pick<SetupPlan, 'steps'>): Promise<void> {
  for (const { parts, apart } of steps) {
    try {
      for (const part of parts) await applyStatements(client, part, LOCK_WAIT_SHORT_MS);
    } catch (error) {
      if (!isLocked(error)) throw error;
      await applyApart(client, { steps: apart });
    }
  }
}

/** SQLSTATE of a lock that was not given in time. */
const LOCK_NOT_AVAILABLE = '55P03';

export function isLocked(error: unknown): boolean {
  return error instanceof AuditError && error.data['sqlstate'] === LOCK_NOT_AVAILABLE;
}
