import type { ControlClient } from './client.ts';
import type { RelationDetails, RelationMessage, ReplicaIdentity } from './decode/relation.ts';
import { TYPES_SQL, type TypeCatalog } from './types.ts';

interface ColumnRow {
  readonly relid: string;
  readonly number: number;
  readonly name: string;
  readonly type_oid: string;
  readonly modifier: number;
  readonly generated: string;
  /** Place in the primary key, rising, or null. */
  readonly key: number | null;
  /** Of the table. */
  readonly partitioned: boolean;
}

const COLUMNS_SQL = `
select a.attrelid::int8::text as relid, a.attnum::int4 as number, a.attname as name, a.atttypid::int8::text as type_oid,
  a.atttypmod as modifier, a.attgenerated::text as generated,
  array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) as key, c.relkind = 'p' as partitioned
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary
where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`;

/**
 * What the catalog says, now, about a relation the stream described as it was then. Types are looked up by OID and modifier,
 * which never change their meaning; the primary key and column numbers are today's, and left out where they do not fit.
 */
export async function describeRelation(
  client: ControlClient,
  types: TypeCatalog,
  message: RelationMessage,
): Promise<RelationDetails> {
  await loadTypes(
    client,
    types,
    message.columns.map((column) => column.typeOid),
  );
  const names = await client.query<{ name: string | null }>(
    `select pg_catalog.format_type(t, m) as name from unnest($1::oid[], $2::int4[]) with ordinality as u(t, m, n) order by n`,
    [message.columns.map((column) => column.typeOid), message.columns.map((column) => column.typeModifier)],
  );
  const columns = await client.query<ColumnRow>(COLUMNS_SQL, [[message.oid]]);
  const seen = new Set(message.columns.map((column) => column.name));
  const byName = new Map(columns.map((column) => [column.name, column.number]));
  return {
    forms: message.columns.map((column) => types.form(column.typeOid)),
    typeNames: names.map((row) => (row.name === null || row.name === '???' ? 'unknown' : row.name)),
    numbers: message.columns.map((column) => byName.get(column.name) ?? null),
    primaryKey: keyOf(columns),
    partitioned: columns[0]?.partitioned ?? false,
    notCaptured: columns
      .filter((column) => column.generated !== '' && !seen.has(column.name))
      .map((column) => column.name),
  };
}

async function loadTypes(client: ControlClient, types: TypeCatalog, oids: readonly number[]): Promise<void> {
  const unknown = [...new Set(oids)].filter((oid) => !types.has(oid));
  if (unknown.length === 0) return;
  const rows = await client.query<{ oid: string; base: string; element: string; delimiter: string }>(TYPES_SQL, [
    unknown,
  ]);
  types.add(
    rows.map((row) => ({
      oid: Number(row.oid),
      base: Number(row.base),
      element: Number(row.element),
      delimiter: row.delimiter,
    })),
  );
}

function keyOf(columns: readonly ColumnRow[]): string[] {
  return columns
    .filter((column) => column.key !== null)
    .sort((a, b) => a.key! - b.key!)
    .map((column) => column.name);
}

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = { d: 'default', n: 'nothing', f: 'full', i: 'index' };

const RELATIONS_SQL = `
select c.oid::int8::text as oid, n.nspname as schema, c.relname as table, c.relreplident::text as identity,
  (select array_agg(k order by o) from pg_catalog.pg_index i, unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) with ordinality as u(k, o)
   where i.indrelid = c.oid and i.indisreplident) as identity_index
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = any($1::oid[])`;

/**
 * Relations as the catalog has them, in the form in which the stream describes them: what a table is from the moment on at
 * which its capture begins.
 */
export async function catalogRelations(
  client: ControlClient,
  oids: readonly number[],
  serverMajor: number,
): Promise<RelationMessage[]> {
  const relations = await client.query<{
    oid: string;
    schema: string;
    table: string;
    identity: string;
    identity_index: number[] | null;
  }>(RELATIONS_SQL, [oids]);
  const columns = Map.groupBy(await client.query<ColumnRow>(COLUMNS_SQL, [oids]), (column) => column.relid);
  return relations.map((relation) => {
    const own = columns.get(relation.oid) ?? [];
    const identity = IDENTITIES[relation.identity] ?? 'default';
    const published = own.filter(
      (column) => column.generated === '' || (serverMajor >= 18 && column.generated === 's'),
    );
    return {
      oid: Number(relation.oid),
      schema: relation.schema,
      table: relation.table,
      identity,
      columns: published.map((column) => ({
        name: column.name,
        typeOid: Number(column.type_oid),
        typeModifier: column.modifier,
        identity:
          identity === 'full' ||
          (identity === 'default' && column.key !== null) ||
          (identity === 'index' && (relation.identity_index ?? []).includes(column.number)),
      })),
    };
  });
}
