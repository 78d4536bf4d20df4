// Which tables are captured and how far: the records that say where capture of a table begins, is limited and ends.
import type { CaptureContext } from './capture-context.ts';
import type { ControlClient } from './client.ts';
import { tableDefinition } from './decode/relation.ts';
import { catalogRelations, describeRelation } from './describe.ts';
import { definitionRecord } from './schema-changes.ts';
import { qualified } from './setup.ts';
import type { Surroundings } from './surroundings.ts';
import { describeLimit, type LimitReason, type WantedTable } from './tables.ts';

/** Says of each table that its capture begins, with what the table is at that moment, and of limited ones what is not seen. */
export async function attach(
  client: ControlClient,
  tables: readonly WantedTable[],
  lsn: string,
  context: CaptureContext,
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
export function recordLimits(tables: readonly WantedTable[], lsn: string, context: CaptureContext): void {
  const { limits } = context;
  for (const table of tables) {
    if (table.reason !== null && limits.get(table.oid) !== table.reason) recordLimit(table, table.reason, lsn, context);
    if (table.reason === null && limits.has(table.oid)) recordLifted(table, lsn, context);
    if (table.reason === null) limits.delete(table.oid);
    else limits.set(table.oid, table.reason);
  }
}

export function recordLifted(table: WantedTable, lsn: string, context: CaptureContext): void {
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
function recordLimit(table: WantedTable, reason: LimitReason, lsn: string, context: CaptureContext): void {
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

/** Tables that are gone from the database. */
export function recordDropped(around: Surroundings, context: CaptureContext): void {
  for (const oid of context.known.oids()) {
    if (!around.existing.has(oid)) recordEnd(oid, 'drop', 'dropped', context);
  }
}

/** Tables that left the patterns (renamed, moved to another schema). */
export function recordDetached(oids: readonly number[], context: CaptureContext): void {
  for (const oid of oids) recordEnd(oid, 'detach', 'left_patterns', context);
}

function recordEnd(oid: number, action: 'drop' | 'detach', reason: string, context: CaptureContext): void {
  const entry = context.known.get(oid);
  if (entry === undefined) return;
  context.known.delete(oid);
  context.output.control({
    kind: 'schema',
    action,
    object: { schema: entry.schema, table: entry.table },
    source: { database: context.facts.database },
    before: definitionRecord(entry),
    details: { reason },
  });
  // After its record: what is remembered waits for the records before it.
  context.remember();
  context.log.warn(
    { event: 'table_left', table: `${entry.schema}.${entry.table}`, reason },
    `${entry.schema}.${entry.table} is not captured any more (${reason}).`,
  );
}
