// Right values: random rows over all types, each record compared with `select` of the same row.
import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { type AuditRecord, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import {
  allTypes,
  arrayDomains,
  builtIn,
  expected,
  OPTIONAL_TYPES,
  type TestType,
  TYPES_SETUP,
} from './support/types.ts';

const ROWS = process.env['CHANGETRAIL_SLOW'] === '1' ? 500 : 40;
const TIMEOUT_MS = 600_000;
const SEED = Number(process.env['CHANGETRAIL_SEED'] ?? Date.now() % 2 ** 31);

/** Settings that change how values are written: a database with other defaults must give the same records. */
const OTHER_DEFAULTS = [
  "datestyle = 'German, DMY'",
  "intervalstyle = 'iso_8601'",
  'extra_float_digits = -5',
  "timezone = 'Asia/Kathmandu'",
  "bytea_output = 'escape'",
  'search_path = \'"odd Schema", public\'',
  'quote_all_identifiers = on',
];
const PINNED = [
  "set datestyle = 'ISO'",
  "set intervalstyle = 'postgres'",
  'set extra_float_digits = 1',
  "set timezone = 'UTC'",
  "set bytea_output = 'hex'",
  "set lc_monetary = 'C'",
  "set search_path = 'pg_catalog'",
  'set quote_all_identifiers = off',
].join(';');

type Row = (string | null)[];

/** A connection that reads every value as the server's text. */
async function textClient(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    types: { getTypeParser: () => (value: string) => value } as never,
  });
  await client.connect();
  await client.query(PINNED);
  return client;
}

/** Writes random rows (insert, update, delete) and compares every record with what the server says of the row. */
async function compare(database: TestDatabase, types: readonly TestType[]): Promise<number> {
  const names = types.map((_, i) => `c${i}`);
  await database.query(`create table t (id int primary key, ${types.map((type, i) => `c${i} ${type.sql}`).join(', ')});
    alter table t replica identity full`);
  for (const setting of OTHER_DEFAULTS) await database.query(`alter database "${database.name}" set ${setting}`);
  await using capture = await startCapture({ url: database.url });
  const client = await textClient(database.url);
  try {
    const rows = fc.sample(fc.tuple(...types.map((type) => fc.option(type.values, { nil: null, freq: 6 }))), {
      seed: SEED,
      numRuns: ROWS * 2,
    }) as unknown as Row[];
    const seen: { id: number; before: Row; after: Row }[] = [];
    const read = async (id: number) =>
      (await client.query({ text: `select ${names} from public.t where id = ${id}`, rowMode: 'array' })).rows[0] as Row;
    const write = async (sql: string, row: Row) => {
      try {
        await client.query(sql, row);
      } catch (error) {
        const column = types.findIndex((_, i) => (error as Error).message.includes(JSON.stringify(row[i])));
        throw new Error(
          `seed ${SEED}: the server refuses a generated row (${types[column]?.sql}): ${(error as Error).message}`,
        );
      }
    };
    for (let id = 0; id < ROWS; id++) {
      await write(`insert into public.t values (${id}, ${names.map((_, i) => `$${i + 1}`)})`, rows[2 * id]!);
      const before = await read(id);
      await write(
        `update public.t set ${names.map((name, i) => `${name} = $${i + 1}`)} where id = ${id}`,
        rows[2 * id + 1]!,
      );
      seen.push({ id, before, after: await read(id) });
    }
    await client.query('delete from public.t');
    const changes = await capture.changes('t');
    expect(changes.map((record) => record.action).sort()).toEqual(
      ['insert', 'update', 'delete'].flatMap((action) => seen.map(() => action)).sort(),
    );
    const byPlace = new Map(
      changes.map((record) => [`${record.action} ${(record.object.key as { id: number }).id}`, record]),
    );
    for (const { id, before, after } of seen) {
      const of = (action: string) => byPlace.get(`${action} ${id}`)!;
      check(types, of('insert'), 'after', before);
      check(types, of('update'), 'before', before);
      check(types, of('update'), 'after', after);
      check(types, of('delete'), 'before', after);
      expect(of('update').changed, `seed ${SEED}`).toEqual(names.filter((_, i) => before[i] !== after[i]));
    }
    return changes.length;
  } finally {
    await client.end();
  }
}

function check(types: readonly TestType[], record: AuditRecord, side: 'before' | 'after', row: Row): void {
  const image = record[side] as Record<string, unknown>;
  expect(Object.keys(image)).toEqual(['id', ...types.map((_, i) => `c${i}`)]);
  for (const [i, type] of types.entries()) {
    const what = `seed ${SEED}: ${type.sql} in ${side} of ${record.action}, server text ${row[i]?.slice(0, 200)}`;
    expect(image[`c${i}`], what).toEqual(expected(type, row[i]!));
  }
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`values of PostgreSQL ${major}`, { timeout: TIMEOUT_MS }, () => {
    test('every built-in type, its arrays, domains, enums, composites and ranges', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(TYPES_SETUP);
      const types = [...allTypes(builtIn()), ...arrayDomains()];
      expect(await compare(database, types)).toBe(3 * ROWS);
    });

    test('all types of the server are covered', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      const { rows } = await database.query(`select format_type(oid, null) as name from pg_type
        where typnamespace = 'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm') and typname !~ '^_|^pg_(node|ndistinct|dependencies|mcv|brin|ddl)'
          and typname not in ('xml', 'aclitem', 'gtsvector') and not (typname ~ '^reg' and typname not in ('regclass', 'regtype', 'regconfig'))`);
      const { rows: tested } = await database
        .query(TYPES_SETUP)
        .then(() =>
          database.query(`select distinct format_type(t::regtype, null) as name from unnest($1::text[]) t`, [
            builtIn().map((type) => type.sql.replace(/\(\d.*\)/, '')),
          ]),
        );
      const have = new Set(tested.map((row: { name: string }) => row.name));
      expect(rows.map((row: { name: string }) => row.name).filter((name: string) => !have.has(name))).toEqual([]);
    });

    test('a "char" that is no character', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key, a "char", b "char"[])');
      await using capture = await startCapture({ url: database.url });
      await database.query(`insert into t values (1, (-56)::"char", array[(-56)::"char", 'x', null])`);
      const [record] = await capture.changes('t');
      expect(record?.after).toEqual({ id: 1, a: '\\310', b: ['\\310', 'x', null] });
    });

    test('options in the URL do not take the pinned settings away', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key, at timestamptz, span interval)');
      const options = encodeURIComponent('-c datestyle=SQL -c timezone=Asia/Tokyo -c work_mem=1MB');
      await using capture = await startCapture({ url: database.url, as: `${database.url}?options=${options}` });
      await database.query("insert into t values (1, '2024-02-29 12:00:00+00', '1 day 2 hours')");
      const [record] = await capture.changes('t');
      expect(record?.after).toEqual({ id: 1, at: '2024-02-29T12:00:00Z', span: '1 day 02:00:00' });
    });

    for (const { needs, setup, type } of OPTIONAL_TYPES) {
      test(`${needs}, where the server has it`, async (context) => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        const refused = await database.query(setup).then(
          () => null,
          (error: Error) => error.message,
        );
        if (refused !== null) return context.skip(`this server has no ${needs}: ${refused}`);
        expect(await compare(database, allTypes([type]))).toBe(3 * ROWS);
      });
    }
  });
}
