// No application write may ever fail because a table is published.
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { type AuditRecord, type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { until } from '../support/wait.ts';
import { actionsOf, type TableCase, tableCases, writesTo } from './support/tables.ts';

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`tables of PostgreSQL ${major} go on taking writes`, () => {
    const cases = tableCases(major);

    async function allTables(): Promise<TestDatabase> {
      const server = await providePostgres({ major });
      const database = await server.createDatabase();
      for (const { ddl } of cases) await database.query(ddl);
      return database;
    }

    /** Runs what an application does on one connection; gives the statements that failed. */
    async function write(database: TestDatabase): Promise<string[]> {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      const failed: string[] = [];
      try {
        for (const statement of cases.flatMap(({ name }) => writesTo(name))) {
          await client.query(statement).catch((error: Error) => failed.push(`${statement}: ${error.message}`));
        }
        await client.query(
          'create temp table own (id int); insert into own values (1); update own set id = 2; delete from own',
        );
      } finally {
        await client.end();
      }
      return failed;
    }

    /** Actions of each case, with its partitions'. Truncation of a partitioned table names each partition. */
    function seen(records: readonly AuditRecord[], { name }: TableCase): Record<string, number> {
      const counts: Record<string, number> = {};
      for (const { kind, action, object } of records) {
        if (kind !== 'change' || !(object.table === name || object.table?.startsWith(`${name}_`))) continue;
        counts[action] = action === 'truncate' ? 1 : (counts[action] ?? 0) + 1;
      }
      return counts;
    }

    function expectSeen(records: readonly AuditRecord[], of: (table: TableCase) => TableCase['seen']): void {
      const own = cases.filter(({ name }) => name !== 'parts' && name !== 'parent');
      expect(Object.fromEntries(own.map((table) => [table.name, seen(records, table)]))).toEqual(
        Object.fromEntries(own.map((table) => [table.name, actionsOf(of(table))])),
      );
    }

    test('with setup: auto, tables as they are', async () => {
      await using database = await allTables();
      expect(await write(database)).toEqual([]);
      await using capture = await startCapture({ url: database.url });
      expect(await write(database)).toEqual([]);
      const records = await capture.caughtUp();
      expectSeen(records, (table) => table.seen);
      // What is not seen is said, in the trail and in the log.
      const limited = records.filter((record) => record.kind === 'capture' && record.action === 'limit');
      const said = new Set(limited.map((record) => record.object.table));
      for (const table of cases.filter((one) => one.seen === 'insert')) {
        expect(
          [...said].some((name) => name === table.name || name?.startsWith(`${table.name}_`)),
          table.name,
        ).toBe(true);
      }
      expect(limited.every((record) => record.missing?.['update'] !== undefined)).toBe(true);
      expect(capture.log.count('table_limited')).toBe(limited.length);
      expect(said).not.toContain('with_key');
      const { rows } = await database.query(
        "select string_agg(pubname, ',') as all from pg_publication where puballtables",
      );
      expect(rows[0].all).toBeNull();
    });

    test('with replica_identity: full', async () => {
      await using database = await allTables();
      await using capture = await startCapture({ url: database.url, source: { replica_identity: 'full' } });
      expect(await write(database)).toEqual([]);
      const records = await capture.caughtUp();
      expectSeen(records, (table) => table.full);
      const deleted = records.find((record) => record.action === 'delete' && record.object.table === 'without_key');
      expect(deleted?.before).toEqual({ id: 1, v: 2 });
      // Looking again finds nothing more to do.
      expect(capture.log.count('publication_set_up')).toBe(1);
      await capture.stop();
      await capture.start();
      await capture.caughtUp();
      expect(capture.log.count('publication_set_up')).toBe(1);
    });

    test('with partitions recorded under their table', async () => {
      await using database = await allTables();
      await using capture = await startCapture({ url: database.url, source: { partitions: 'root' } });
      expect(await write(database)).toEqual([]);
      const records = await capture.caughtUp();
      const partitioned = records.filter(
        (record) => record.kind === 'change' && record.object.table?.startsWith('parts'),
      );
      expect([...new Set(partitioned.map((record) => record.object.table))].sort()).toEqual([
        'parts',
        'parts_deep',
        'parts_keyless',
        'parts_odd',
        // Its partition is not in the log, but its TRUNCATE is.
        'parts_unlogged',
      ]);
      const updated = partitioned.filter((record) => record.action === 'update').map((record) => record.object.table);
      expect([...new Set(updated)]).toEqual(['parts']);
    });

    test('with a partition of a partitioned table on its own', async () => {
      await using database = await allTables();
      await database.query('create table parts_deep_1_3 partition of parts_deep_1 default');
      await using capture = await startCapture({ url: database.url, source: { tables: ['public.parts_deep_1'] } });
      await database.query(writesTo('parts_deep').join(';'));
      await database.query('insert into parts_deep_1 values (2, 1)');
      await database.query('update parts_deep_1_3 set v = 1; delete from parts_deep_1_3');
      const records = await capture.caughtUp();
      const tables = (action: string) =>
        new Set(records.flatMap((record) => (record.action === action ? [record.object.table] : [])));
      expect(tables('update')).toEqual(new Set(['parts_deep_1_1', 'parts_deep_1_2']));
      expect(tables('truncate')).toEqual(new Set(['parts_deep_1_1', 'parts_deep_1_2', 'parts_deep_1_3']));
      expect(tables('limit')).toEqual(new Set(['parts_deep_1_3']));
    });

    test('a partition made while streaming takes every write at once', async () => {
      await using database = await allTables();
      await using capture = await startCapture({ url: database.url });
      for (const [i, table] of ['parts', 'parts_keyless', 'parts_deep', 'parts_odd'].entries()) {
        const part = `${table}_new${i}`;
        await database.query(`create table ${part} partition of ${table} for values in (${10 + i})`);
        await database.query(
          `insert into ${part} values (${10 + i}, 1); update ${table} set v = 2; delete from ${table}`,
        );
      }
      const records = await capture.caughtUp();
      const inserted = records.filter((record) => record.kind === 'change' && record.action === 'insert');
      expect(inserted.map((record) => record.object.table)).toEqual([
        'parts_new0',
        'parts_keyless_new1',
        'parts_deep_new2',
        'parts_odd_new3',
      ]);
    });

    test('publications that somebody changed are set right', async () => {
      await using database = await allTables();
      await using capture = await startCapture({ url: database.url });
      await database.query("alter publication changetrail_shop set (publish = 'insert')");
      await published(
        capture,
        database,
        "select 1 from pg_publication where pubname = 'changetrail_shop' and pubupdate and pubdelete",
      );
      const gap = await capture.record((record) => record.kind === 'gap', 'a gap record');
      expect(gap.details).toMatchObject({ cause: 'publication_altered' });
      if (major >= 18) {
        await database.query('alter publication changetrail_shop set (publish_generated_columns = none)');
        await published(
          capture,
          database,
          "select 1 from pg_publication where pubname = 'changetrail_shop' and pubgencols = 's'",
        );
      }
      expect(await write(database)).toEqual([]);
    });

    async function published(capture: Capture, database: TestDatabase, sql: string): Promise<void> {
      await until(async () => capture.failure ?? (await database.query(sql)).rows.length > 0, { what: sql });
    }
  });
}
