// Beside the stream: tables that come and go, the publication and the slot that somebody may take away.
import type { SourceOutput } from '../../src/core/output.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { ControlClient } from './client.ts';
import { tableDefinition } from './decode/relation.ts';
import { catalogRelations, describeRelation } from './describe.ts';
import { parseLsn } from './lsn.ts';
import type { ResolvedPostgres } from './options.ts';
import type { TableMatcher } from './patterns.ts';
import type { ServerFacts } from './preflight.ts';
import { definitionRecord, type KnownTables } from './schema-changes.ts';
import { applyStatements, planPublications, qualified, readPublications, type SetupPlan } from './setup.ts';
import { readSlot, type SlotState } from './slot.ts';
import {
  describeLimit,
  type LimitReason,
  readTables,
  selectTables,
  type TableSelection,
  type WantedTable,
} from './tables.ts';
import type { TypeCatalog } from './types.ts';

export interface WatchContext {
  readonly options: ResolvedPostgres;
  readonly facts: ServerFacts;
  readonly matcher: TableMatcher;
  readonly types: TypeCatalog;
  readonly known: KnownTables;
  readonly output: SourceOutput;
  readonly log: Logger;
  /** What was last seen of the publication. */
  readonly published: Published;
  /** Names of the publications that the stream asks for. */
  readonly streamed: Set<string>;
  /** Tables of which UPDATE and DELETE are not seen, as it was last recorded. */
  readonly limits: Map<number, LimitReason>;
  /** The known tables, or what was seen of the publication, changed: keep them. */
  remember(): void;
}

export interface Published {
  /** Everything before it was published: the log's end before the last look that found all in order. */
  seen: string;
  /** When `seen` was kept last, milliseconds since 1970. */
  keptAt: number;
  /** A publication is there that the stream does not ask for: it can once the slot has passed this position. */
  joinAt: bigint | null;
  /** OID of the publication at that look. */
  publication: number | null;
  /** Tables somebody took out of it that `setup: manual` does not put back, with the position from which on they may be missing. */
  readonly lost: Map<number, string>;
}

export interface Surroundings {
  readonly selection: TableSelection;
  readonly plan: SetupPlan;
  /** Names of the publications that exist, of the two. */
  readonly publications: readonly string[];
  readonly mainExists: boolean;
  /** OID of the main publication; null when it is missing. */
  readonly mainOid: number | null;
  readonly existing: ReadonlySet<number>;
}

/** Looks at the source's tables and publications and works out what would have to change. Changes nothing. */
export async function lookAround(
  client: ControlClient,
  context: Pick<WatchContext, 'options' | 'facts' | 'matcher'>,
): Promise<Surroundings> {
  const { options, facts, matcher } = context;
  const tables = await readTables(client);
  const publications = await readPublications(client, [options.publication, options.insertPublication]);
  const selection = selectTables(tables, {
    matcher,
    serverMajor: facts.major,
    makeFull: options.replica_identity === 'full',
    partitions: options.partitions,
  });
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const plan = planPublications({
    options,
    serverMajor: facts.major,
    wanted: selection.wanted,
    publications,
    existing: new Set(byOid.keys()),
    tableOf: (oid) => byOid.get(oid),
  });
  return {
    selection,
    plan,
    publications: [...publications.keys()],
    mainExists: publications.has(options.publication),
    mainOid: publications.get(options.publication)?.oid ?? null,
    existing: new Set(byOid.keys()),
  };
}

/** One look while streaming. @throws AUD_PG_PUBLICATION_LOST, AUD_PG_SLOT_LOST: opening again says what is missing. */
export async function watchOnce(client: ControlClient, context: WatchContext, warned: Set<string>): Promise<void> {
  const { options, published } = context;
  const before = await currentLsn(client);
  const around = await lookAround(client, context);
  if (!around.mainExists || around.mainOid !== published.publication) throw publicationLost(options, around.plan);
  const slot = await readSlot(client, options.slot);
  if (slot === null || slot.lost !== null) {
    throw new AuditError('AUD_PG_SLOT_LOST', {
      message: `The slot ${options.slot} of source ${options.name} ${slot === null ? 'was dropped' : `was invalidated (${slot.lost})`}.`,
      retry: 'soon',
    });
  }
  await joinPublications(client, around, slot, context);
  recordDropped(around, context);
  if (around.plan.statements.length === 0) {
    await followLost(client, around, context);
    return sawPublished(before, context);
  }
  if (options.setup === 'manual') {
    warnOfPlan(around.plan, context, warned);
    await followLost(client, around, context);
    return sawPublished(before, context);
  }
  await applyStatements(client, around.plan.statements);
  const at = await currentLsn(client);
  recordTableGaps(around.plan, published.seen, at, context);
  if (around.plan.narrowed) recordNarrowed(published.seen, at, context);
  await attach(client, streamedTables(around.plan.added, context), at, context);
  recordLimits(around.selection.wanted, at, context);
  for (const table of around.plan.added) {
    // A new partition, of which only INSERT was published until now.
    if (table.allChanges && around.plan.covered.get(table.oid) === 'insert') recordLifted(table, at, context);
  }
  recordDetached(around.plan.removed, context);
  sawPublished(at, context);
}

/**
 * A publication that came after the stream began (somebody ran the printed SQL) is not in it, and before PostgreSQL 18 the server
 * refuses to read one at a point of the log where it did not exist. So the stream is opened again once that point is behind it.
 * @throws AUD_PG_PUBLICATION_ADDED then.
 */
async function joinPublications(
  client: ControlClient,
  around: Surroundings,
  slot: SlotState,
  { published, streamed, options, remember }: WatchContext,
): Promise<void> {
  const added = around.publications.find((name) => !streamed.has(name));
  if (added === undefined) {
    published.joinAt = null;
  } else if (published.joinAt === null) {
    published.joinAt = parseLsn(await currentLsn(client));
  } else if (slot.confirmed !== null && slot.confirmed >= published.joinAt) {
    streamed.add(added);
    remember();
    throw new AuditError('AUD_PG_PUBLICATION_ADDED', {
      message: `The publication ${added} of source ${options.name} is new.`,
      action: 'The stream is opened again to read it.',
      retry: 'soon',
    });
  }
}

/** The tables whose publication the stream asks for; the others are captured from its next start on. */
export function streamedTables(
  tables: readonly WantedTable[],
  { streamed, options }: Pick<WatchContext, 'streamed' | 'options'>,
): readonly WantedTable[] {
  return streamed.has(options.insertPublication) ? tables : tables.filter((table) => table.allChanges);
}

/** After a crash a gap may begin this much too early; keeping more often would write all known tables each time. */
const KEEP_SEEN_MS = 60_000;

function sawPublished(lsn: string, { published, remember }: WatchContext): void {
  if (published.seen === lsn) return;
  published.seen = lsn;
  if (Date.now() - published.keptAt < KEEP_SEEN_MS) return;
  published.keptAt = Date.now();
  remember();
}

/** Tables that were captured and are not published any more: somebody took them out. */
function lostTables(plan: SetupPlan, context: Pick<WatchContext, 'known'>): WantedTable[] {
  return plan.added.filter((table) => !plan.covered.has(table.oid) && context.known.get(table.oid) !== undefined);
}

/** With `setup: manual`: says at once that a table is not published any more, and once more when somebody put it back. */
async function followLost(client: ControlClient, around: Surroundings, context: WatchContext): Promise<void> {
  const { lost, seen } = context.published;
  const now = lostTables(around.plan, context);
  if (around.plan.narrowed && !lost.has(NARROWED)) {
    lost.set(NARROWED, seen);
    recordNarrowed(seen, null, context);
  }
  if (!around.plan.narrowed && lost.has(NARROWED)) {
    recordNarrowed(lost.get(NARROWED)!, await currentLsn(client), context);
    lost.delete(NARROWED);
  }
  for (const table of now) {
    if (lost.has(table.oid)) continue;
    lost.set(table.oid, seen);
    recordTableGap(table, seen, null, context);
  }
  for (const [oid, from] of lost) {
    if (oid === NARROWED || now.some((table) => table.oid === oid)) continue;
    lost.delete(oid);
    const table = around.selection.wanted.find((wanted) => wanted.oid === oid);
    if (table !== undefined) recordTableGap(table, from, await currentLsn(client), context);
  }
}

/** Stands for the whole publication among the lost tables; no table has this OID. */
const NARROWED = 0;

/** Some kinds of changes were not published from `from` on at the earliest. */
export function recordNarrowed(from: string, to: string | null, context: WatchContext): void {
  context.output.control({
    kind: 'gap',
    action: 'gap',
    source: { database: context.facts.database },
    outcome: 'unknown',
    details: { from, to, cause: 'publication_altered' },
  });
  context.log.error(
    { event: 'gap', cause: 'publication_altered' },
    `The publication ${context.options.publication} was altered and did not publish every kind of change; some may be missing.`,
  );
}

/** Says of each table that had been taken out from where to where its changes may be missing. */
export function recordTableGaps(plan: SetupPlan, from: string, to: string | null, context: WatchContext): void {
  for (const table of lostTables(plan, context)) recordTableGap(table, from, to, context);
}

/** The log's end now, as the position from which on a change of the publication counts at the latest. */
export async function currentLsn(client: ControlClient): Promise<string> {
  const [row] = await client.query<{ lsn: string }>('select pg_catalog.pg_current_wal_insert_lsn()::text as lsn');
  return row!.lsn;
}

/** Says of each table that its capture begins, with what the table is at that moment, and of limited ones what is not seen. */
export async function attach(
  client: ControlClient,
  tables: readonly WantedTable[],
  lsn: string,
  context: WatchContext,
): Promise<void> {
  const { known, output, options, facts } = context;
  const fresh = tables.filter((table) => known.get(table.oid) === undefined);
  const relations = await catalogRelations(
    client,
    fresh.map((table) => table.oid),
    facts.major,
  );
  for (const relation of relations) {
    const details = await describeRelation(client, context.types, relation);
    const entry = { schema: relation.schema, table: relation.table, definition: tableDefinition(relation, details) };
    known.set(entry);
    output.control({
      kind: 'schema',
      action: 'attach',
      object: { schema: entry.schema, table: entry.table },
      source: { database: facts.database, lsn },
      after: definitionRecord(entry),
      details: { from: lsn },
    });
  }
  if (fresh.length > 0) {
    context.remember();
    context.log.info(
      { event: 'tables_attached', count: fresh.length },
      `Captures ${fresh.length} more table${fresh.length === 1 ? '' : 's'} of ${options.name} from ${lsn} on.`,
    );
  }
}

/** Says of which tables less is seen than before, from `lsn` on, or again everything. */
export function recordLimits(tables: readonly WantedTable[], lsn: string, context: WatchContext): void {
  const { limits } = context;
  for (const table of tables) {
    if (table.reason !== null && limits.get(table.oid) !== table.reason) recordLimit(table, table.reason, lsn, context);
    if (table.reason === null && limits.has(table.oid)) recordLifted(table, lsn, context);
    if (table.reason === null) limits.delete(table.oid);
    else limits.set(table.oid, table.reason);
  }
}

function recordLifted(table: WantedTable, lsn: string, context: WatchContext): void {
  context.output.control({
    kind: 'capture',
    action: 'limit_lifted',
    object: { schema: table.schema, table: table.table },
    source: { database: context.facts.database, lsn },
    details: { seen: ['update', 'delete'], from: lsn },
  });
  context.log.info(
    { event: 'table_unlimited', table: `${table.schema}.${table.table}` },
    `UPDATE and DELETE on ${table.schema}.${table.table} are captured from ${lsn} on.`,
  );
}

/** UPDATE and DELETE of this table are not seen, and could not be published without making them fail. */
function recordLimit(table: WantedTable, reason: LimitReason, lsn: string, context: WatchContext): void {
  const name = `${table.schema}.${table.table}`;
  const { text, fix } = describeLimit(reason, qualified(table));
  context.output.control({
    kind: 'capture',
    action: 'limit',
    object: { schema: table.schema, table: table.table },
    source: { database: context.facts.database, lsn },
    missing: { update: reason, delete: reason },
    details: { not_seen: ['update', 'delete'], from: lsn, reason, fix },
  });
  context.log.warn(
    { event: 'table_limited', table: name, reason, action: `${fix};` },
    `UPDATE and DELETE on ${name} are not captured: ${text}, so publishing them would make them fail.`,
  );
}

/** `to` null: it goes on. */
function recordTableGap(table: WantedTable, from: string, to: string | null, context: WatchContext): void {
  context.output.control({
    kind: 'gap',
    action: 'gap',
    object: { schema: table.schema, table: table.table },
    source: { database: context.facts.database },
    outcome: 'unknown',
    details: { from, to, cause: 'table_unpublished' },
  });
  context.log.error(
    { event: 'gap', table: `${table.schema}.${table.table}`, cause: 'table_unpublished' },
    `${table.schema}.${table.table} was taken out of the publication; its changes from ${from} ${to === null ? 'on' : `to ${to}`} are missing.`,
  );
}

/** Tables that are gone from the database. */
function recordDropped(around: Surroundings, context: WatchContext): void {
  for (const oid of context.known.oids()) {
    if (!around.existing.has(oid)) recordEnd(oid, 'drop', 'dropped', context);
  }
}

/** Tables that left the patterns (renamed, moved to another schema). */
export function recordDetached(oids: readonly number[], context: WatchContext): void {
  for (const oid of oids) recordEnd(oid, 'detach', 'left_patterns', context);
}

function recordEnd(oid: number, action: 'drop' | 'detach', reason: string, context: WatchContext): void {
  const entry = context.known.get(oid);
  if (entry === undefined) return;
  context.known.delete(oid);
  context.remember();
  context.output.control({
    kind: 'schema',
    action,
    object: { schema: entry.schema, table: entry.table },
    source: { database: context.facts.database },
    before: definitionRecord(entry),
    details: { reason },
  });
  context.log.warn(
    { event: 'table_left', table: `${entry.schema}.${entry.table}`, reason },
    `${entry.schema}.${entry.table} is not captured any more (${reason}).`,
  );
}

function warnOfPlan(plan: SetupPlan, context: WatchContext, warned: Set<string>): void {
  const fresh = plan.statements.filter((statement) => !warned.has(statement));
  for (const statement of fresh) warned.add(statement);
  if (fresh.length === 0) return;
  context.log.warn(
    { event: 'setup_needed', action: `${fresh.join(';\n           ')};` },
    'Tables and publication do not fit the configured patterns; with `setup: manual` nothing is changed.',
  );
}

export function publicationLost(options: ResolvedPostgres, plan: SetupPlan): AuditError {
  return new AuditError('AUD_PG_PUBLICATION_LOST', {
    message: `The publication ${options.publication} of source ${options.name} was dropped: changes are not sent any more.`,
    action:
      options.setup === 'auto' ? 'It is created again.' : `Run: ${plan.statements.join('; ')};  or set setup: auto.`,
    retry: options.setup === 'auto' || plan.statements.length === 0 ? 'soon' : 'never',
  });
}
