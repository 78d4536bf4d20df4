// DDL in mid-stream: the record after it is right, and a `schema` record in its place says what changed.
import { describe, expect, test } from 'vitest';
import { type AuditRecord, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';

const SETUP = `create table t (id int primary key, v int, w text);
  create type mood as enum ('ok', 'bad'); create schema other; create domain d as int[]`;

/** Statement, a write behind it, and what is to be said of the change. */
const STEPS: readonly (readonly [string, string, object, unknown])[] = [
  [
    'alter table t add column added date default null',
    "insert into t values (1, 10, 'a', '2024-02-29')",
    { action: 'alter', changed: ['columns.added'], details: { added: ['added'] } },
    { id: 1, v: 10, w: 'a', added: '2024-02-29' },
  ],
  [
    'alter table t rename column v to renamed',
    "insert into t values (2, 20, 'b')",
    {
      action: 'alter',
      changed: ['columns.v', 'columns.renamed'],
      details: { renamed: [{ from: 'v', to: 'renamed' }] },
    },
    { id: 2, renamed: 20, w: 'b', added: null },
  ],
  [
    'alter table t alter column renamed type numeric(12,2)',
    "insert into t values (3, 30, 'c')",
    {
      action: 'alter',
      changed: ['columns.renamed'],
      details: { retyped: [{ column: 'renamed', from: 'integer', to: 'numeric(12,2)' }] },
    },
    { id: 3, renamed: '30.00', w: 'c', added: null },
  ],
  [
    'alter table t drop column w',
    'insert into t values (4, 40)',
    { action: 'alter', changed: ['columns.w'], details: { dropped: ['w'] } },
    { id: 4, renamed: '40.00', added: null },
  ],
  [
    'alter table t add column w boolean[], add column m mood',
    "insert into t values (5, 50, null, '{t,f}', 'bad')",
    { action: 'alter', changed: ['columns.w', 'columns.m'], details: { added: ['w', 'm'] } },
    { id: 5, renamed: '50.00', added: null, w: [true, false], m: 'bad' },
  ],
  [
    'alter table t replica identity full',
    "insert into t values (6, 60, null, null, 'ok')",
    { action: 'alter', changed: ['replica_identity'] },
    { id: 6, renamed: '60.00', added: null, w: null, m: 'ok' },
  ],
  [
    'alter table t rename to t2',
    'insert into t2 values (7, 70)',
    { action: 'rename', changed: ['table'] },
    { id: 7, renamed: '70.00', added: null, w: null, m: null },
  ],
  [
    'alter table t2 drop constraint t_pkey, add primary key (renamed, id)',
    'insert into t2 values (8, 80)',
    { action: 'alter', changed: ['key'] },
    { id: 8, renamed: '80.00', added: null, w: null, m: null },
  ],
  [
    'alter table t2 set schema other',
    'insert into other.t2 values (9, 90)',
    { action: 'rename', changed: ['table'] },
    { id: 9, renamed: '90.00', added: null, w: null, m: null },
  ],
];

/** Schema and change records behind the attached table, as pairs. */
function steps(records: readonly AuditRecord[]): { schema: object[]; after: unknown }[] {
  const found: { schema: object[]; after: unknown }[] = [];
  let schema: object[] = [];
  for (const { kind, action, changed, details, after } of records) {
    if (kind === 'schema' && action !== 'attach') {
      schema.push({ action, changed, ...(details === undefined ? {} : { details }) });
    } else if (kind === 'change') {
      found.push({ schema, after });
      schema = [];
    }
  }
  return found;
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`DDL of PostgreSQL ${major}`, () => {
    async function capturing(
      work: (
        query: (sql: string) => Promise<unknown>,
        capture: Awaited<ReturnType<typeof startCapture>>,
      ) => Promise<void>,
    ) {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(SETUP);
      await using capture = await startCapture({ url: database.url, source: { tables: ['public.*', 'other.*'] } });
      await work((sql) => database.query(sql), capture);
      return await capture.caughtUp();
    }

    const expected = STEPS.map(([, , schema, after]) => ({ schema: [schema], after }));

    test('each in a transaction of its own', async () => {
      const records = await capturing(async (query) => {
        for (const [ddl, write] of STEPS) {
          await query(ddl);
          await query(write);
        }
      });
      expect(steps(records)).toEqual(expected);
      const renamed = records.find((record) => record.kind === 'schema' && record.action === 'rename');
      expect(renamed).toMatchObject({
        object: { schema: 'public', table: 't2' },
        before: { table: 't', replica_identity: 'full' },
        after: { table: 't2', key: ['id'] },
      });
    });

    test('all in one transaction, with changes between', async () => {
      const records = await capturing((query) =>
        query(`begin; ${STEPS.flatMap(([ddl, write]) => `${ddl}; ${write}`).join('; ')}; commit`).then(() => undefined),
      );
      const found = steps(records);
      expect(found.map(({ after }) => after)).toEqual(expected.map(({ after }) => after));
      // The primary key is told by the catalog of now: under REPLICA IDENTITY FULL its change is seen early.
      const said = found.map(({ schema }) => schema.map((one) => ({ ...one, changed: without(one, 'key') })));
      expect(said).toEqual(
        expected.map(({ schema }) =>
          schema
            .filter((one) => without(one, 'key').length > 0)
            .map((one) => ({ ...one, changed: without(one, 'key') })),
        ),
      );
    });

    test('while capture is stopped', async () => {
      const records = await capturing(async (query, capture) => {
        await capture.stop();
        for (const [ddl, write] of STEPS.slice(0, 5)) {
          await query(ddl);
          await query(write);
        }
        await capture.start();
      });
      expect(steps(records)).toEqual(expected.slice(0, 5));
    });

    test('a rolled back DDL is not said', async () => {
      const records = await capturing(async (query) => {
        await query("begin; alter table t add column x int; insert into t values (1, 1, 'x', 1); rollback");
        await query("insert into t values (2, 2, 'y')");
      });
      expect(steps(records)).toEqual([{ schema: [], after: { id: 2, v: 2, w: 'y' } }]);
    });

    test('a table dropped and made again is another table', async () => {
      const records = await capturing(async (query, capture) => {
        await query("insert into t values (1, 1, 'a')");
        await capture.caughtUp();
        await query('drop table t; create table t (other text primary key)');
        await capture.record((record) => record.action === 'drop', 'the table to be said dropped');
        await capture.record(
          (record) => record.action === 'attach' && JSON.stringify(record.after).includes('other'),
          'the new table',
        );
        await query("insert into t values ('b')");
      });
      expect(records.filter((record) => record.kind === 'change').map((record) => record.after)).toEqual([
        { id: 1, v: 1, w: 'a' },
        { other: 'b' },
      ]);
    });
  });
}

function without(record: object, path: string): string[] {
  return (record as { changed: string[] }).changed.filter((one) => one !== path);
}
