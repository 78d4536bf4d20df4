// What the publications are at the moment, read from the catalog.
import type { ControlClient } from './client.ts';

/** What somebody has a publication leave out of a table; pgoutput then says nothing of it. PostgreSQL 15 and later. */
export interface Restriction {
  /** It has a row filter (`where`). */
  readonly filtered: boolean;
  /** Columns that are not in its column list; null without a list. */
  readonly leftOut: readonly string[] | null;
}

export interface PublicationState {
  readonly oid: number;
  readonly name: string;
  readonly allTables: boolean;
  readonly viaRoot: boolean;
  /** What it publishes, as its `publish` option says it: `insert, update, delete, truncate`. */
  readonly publish: string;
  /** Whether stored generated columns are published; null before version 18, which cannot. */
  readonly generated: boolean | null;
  /** The tables named in it, by OID, with what is left out of them; null: nothing is. */
  readonly tables: ReadonlyMap<number, Restriction | null>;
  /** Schemas of which it publishes every table, present and later ones. */
  readonly schemas: readonly string[];
  /** Version of its row in the catalog: whoever alters the publication leaves another. */
  readonly version: string;
  readonly owner: string;
  /** OID of each named table's entry, by the table's OID: one that was taken out and put back has another. */
  readonly entries: ReadonlyMap<number, number>;
}

interface PublicationRow {
  readonly oid: string;
  readonly name: string;
  readonly all_tables: boolean;
  readonly via_root: boolean;
  readonly publish: string;
  readonly generated: string | null;
  readonly version: string;
  readonly owner: string;
  readonly tables: readonly {
    readonly oid: number;
    readonly entry: number;
    readonly filtered: boolean;
    readonly left_out: string[] | null;
  }[];
  readonly schemas: readonly string[];
}

/** Row filters, column lists and schemas came with version 15; a query that names their columns fails before it. */
function publicationSql(serverMajor: number): string {
  const since15 = (sql: string, before: string) => (serverMajor >= 15 ? sql : before);
  const leftOut = `case when r.prattrs is not null then (
    select coalesce(jsonb_agg(a.attname order by a.attnum), '[]') from pg_catalog.pg_attribute a
    where a.attrelid = r.prrelid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attnum <> all (r.prattrs)) end`;
  const schemas = `select coalesce(array_agg(n.nspname::text order by 1), '{}') from pg_catalog.pg_publication_namespace s
    join pg_catalog.pg_namespace n on n.oid = s.pnnspid where s.pnpubid = p.oid`;
  return `
select p.oid::int8::text as oid, p.pubname as name, p.puballtables as all_tables, p.pubviaroot as via_root,
  concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end) as publish,
  to_jsonb(p) ->> 'pubgencols' as generated, p.xmin::text as version, p.pubowner::int8::text as owner,
  (select coalesce(jsonb_agg(jsonb_build_object('oid', r.prrelid::int8, 'entry', r.oid::int8, 'filtered', ${since15('r.prqual is not null', 'false')},
    'left_out', ${since15(leftOut, 'null')})), '[]') from pg_catalog.pg_publication_rel r where r.prpubid = p.oid) as tables,
  (${since15(schemas, "select '{}'::text[]")}) as schemas
from pg_catalog.pg_publication p where p.pubname = any($1::name[])`;
}

export async function readPublications(
  client: ControlClient,
  names: readonly string[],
  serverMajor: number,
): Promise<Map<string, PublicationState>> {
  const rows = await client.query<PublicationRow>(publicationSql(serverMajor), [names]);
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
        tables: new Map(
          row.tables.map(({ oid, filtered, left_out: leftOut }) => [
            oid,
            filtered || leftOut !== null ? { filtered, leftOut } : null,
          ]),
        ),
        schemas: row.schemas,
        version: row.version,
        owner: row.owner,
        entries: new Map(row.tables.map(({ oid, entry }) => [oid, entry])),
      },
    ]),
  );
}

/** One row of the catalog: which one it is, and what it says. */
export type PublicationMark = readonly [row: string, says: string];

/** A mark for each publication, by its name, and for each of its tables, by name and OID. JSON: it is kept between starts. */
export type PublicationMarks = Readonly<Record<string, PublicationMark>>;

export function publicationMarks(publications: Iterable<PublicationState>): PublicationMarks {
  const marks: Record<string, PublicationMark> = {};
  for (const state of publications) {
    const { oid, name, version, publish, viaRoot, generated, allTables, schemas, owner } = state;
    marks[name] = [`${oid} ${version}`, JSON.stringify([publish, viaRoot, generated, allTables, schemas, owner])];
    for (const [table, entry] of state.entries) {
      marks[tableMark(name, table)] = [String(entry), JSON.stringify(state.tables.get(table) ?? null)];
    }
  }
  return marks;
}

export function tableMark(publication: string, oid: number): string {
  return `${publication} ${oid}`;
}
