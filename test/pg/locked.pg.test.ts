// Somebody holds a lock on a table that is to be published or altered: the others do not wait for it, and nobody waits for us.
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { ControlClient } from '../../connectors/postgres/client.ts';
import { postgresOptions, resolvePostgres } from '../../connectors/postgres/options.ts';
import { tableMatcher } from '../../connectors/postgres/patterns.ts';
import { readServerFacts } from '../../connectors/postgres/preflight.ts';
import { applyApart, applyPlan } from '../../connectors/postgres/setup.ts';
import { lookAround } from '../../connectors/postgres/surroundings.ts';
import { heldTables } from '../../connectors/postgres/tables.ts';
import { startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { until } from '../support/wait.ts';
import { slotFree } from './support/log.ts';

const SLOT = 'changetrail_shop';

/** A transaction that goes on until it is disposed. */
async function transaction(database: TestDatabase, sql: string): Promise<AsyncDisposable> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query(`begin; ${sql}`);
  return { [Symbol.asyncDispose]: () => client.end() };
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`locks on tables of PostgreSQL ${major}`, () => {
    async function withTables(sql: string): Promise<TestDatabase> {
      const server = await providePostgres({ major });
      const database = await server.createDatabase();
      await database.query(sql);
      return database;
    }

    const isPublished = async (database: TestDatabase, publication: string, table: string) =>
      (
        await database.query('select 1 from pg_publication_tables where pubname = $1 and tablename = $2', [
          publication,
          table,
        ])
      ).rows.length > 0;

    test('a table that is locked holds up neither new ones nor one that has lost its key', async () => {
      await using database = await withTables('create table keyed (id int constraint k primary key)');
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      await database.query('create table locked (id int primary key)');
      {
        // As CREATE INDEX CONCURRENTLY and VACUUM hold it.
        await using _ = await transaction(database, 'lock table locked in share update exclusive mode');
        await database.query('create table free (id int primary key); alter table keyed drop constraint k');
        await until(() => isPublished(database, 'changetrail_shop', 'free'), { what: 'the free table' });
        await until(() => isPublished(database, 'changetrail_shop_insert', 'keyed'), { what: 'the table to move' });
        await database.query('insert into free values (1); insert into keyed values (1); update keyed set id = 2');
        const said = await until(() => capture.log.entries.find((entry) => entry['event'] === 'tables_locked'), {
          what: 'the locked table to be said',
        });
        expect(said['tables']).toEqual(['"public"."locked"']);
        const records = await capture.caughtUp();
        expect(records.filter(({ kind }) => kind === 'change').map(({ object }) => object.table)).toEqual([
          'free',
          'keyed',
        ]);
        expect(records.find(({ action }) => action === 'limit')?.object.table).toBe('keyed');
        expect(records.some(({ object }) => object.table === 'locked')).toBe(false);
      }
      const attached = await capture.record(
        ({ action, object }) => action === 'attach' && object.table === 'locked',
        'the locked table to be captured',
      );
      expect(attached.details?.['from']).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
      await database.query('insert into locked values (1)');
      expect((await capture.changes('locked')).length).toBe(1);
      expect((await capture.caughtUp()).filter(({ kind }) => kind === 'gap')).toEqual([]);
    });

    test('a start does not wait for a table that is locked', async () => {
      await using database = await withTables('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      await capture.stop();
      await slotFree(database, SLOT);
      await database.query('create table locked (id int primary key); insert into t values (1)');
      {
        await using _ = await transaction(database, 'lock table locked in share update exclusive mode');
        await capture.start();
        const records = await capture.caughtUp();
        expect(records.filter(({ kind }) => kind === 'change')).toHaveLength(1);
        expect(records.some(({ object }) => object.table === 'locked')).toBe(false);
      }
      await capture.record(
        ({ action, object }) => action === 'attach' && object.table === 'locked',
        'the locked table',
      );
    });

    test('a table that is locked while it moves from one publication to the other stays in one of them', async () => {
      await using database = await withTables('create table t (v int)');
      {
        await using _ = await startCapture({ url: database.url });
      }
      const source = { type: 'postgres', url: database.url, tables: ['public.*'], replica_identity: 'full' };
      const options = resolvePostgres('shop', postgresOptions.parse({ ...source, setup: 'auto' }));
      const control = await ControlClient.connect(database.url, 'shop');
      const look = { options, facts: await readServerFacts(control), matcher: tableMatcher(options.tables) };
      {
        await using _ = await transaction(database, 'lock table t in row exclusive mode');
        await applyApart(control, (await lookAround(control, look)).plan);
        expect(await isPublished(database, 'changetrail_shop_insert', 't')).toBe(true);
      }
      await applyApart(control, (await lookAround(control, look)).plan);
      await control.close();
      expect(await isPublished(database, 'changetrail_shop_insert', 't')).toBe(false);
      expect(await isPublished(database, 'changetrail_shop', 't')).toBe(true);
    });

    const TREE = `create table tree (id int, v int, constraint k primary key (id)) partition by list (id);
      create table leaf_a partition of tree for values in (1); create table leaf_b partition of tree for values in (2);
      insert into tree values (1, 1), (2, 1)`;

    test('a tree of which a partition is locked moves as a whole or not at all', async () => {
      await using database = await withTables(
        `${TREE}; alter table leaf_a replica identity full; alter table leaf_b replica identity full`,
      );
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      {
        const sql =
          'alter table tree drop constraint k; commit; begin; lock table leaf_a in share update exclusive mode';
        await using _ = await transaction(database, sql);
        await until(() => capture.log.entries.find((entry) => entry['event'] === 'tables_locked'), {
          what: 'the locked tree to be said',
        });
        await database.query('update tree set v = 2');
        expect((await capture.caughtUp()).filter(({ action }) => action === 'update')).toHaveLength(2);
      }
      await until(() => isPublished(database, 'changetrail_shop_insert', 'leaf_a'), { what: 'the table to move' });
      await database.query('update tree set v = 3');
      const records = await capture.caughtUp();
      expect(records.filter(({ action }) => action === 'update')).toHaveLength(4);
      expect(records.filter(({ kind }) => kind === 'gap')).toEqual([]);
    });

    test('a partition whose writes fail does not wait for one that is locked; what that one loses is said', async () => {
      await using database = await withTables(TREE);
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      {
        const sql =
          'alter table leaf_b replica identity nothing; commit; begin; lock table leaf_a in share update exclusive mode';
        await using _ = await transaction(database, sql);
        const isTaken = () =>
          database.query('update leaf_b set v = 2').then(
            () => true,
            () => false,
          );
        await until(isTaken, { what: 'the update to be taken' });
        const open = await capture.record(({ kind }) => kind === 'gap', 'a gap of the locked partition');
        expect(open.object.table).toBe('leaf_a');
        expect(open.details).toMatchObject({ to: null, cause: 'table_unpublished', not_seen: ['update', 'delete'] });
        await database.query('update leaf_a set v = 2; insert into tree values (1, 9) on conflict (id) do nothing');
      }
      const over = await capture.record(({ kind, details }) => kind === 'gap' && details!['to'] !== null, 'its end');
      expect(over.object.table).toBe('leaf_a');
      await database.query('update leaf_a set v = 3');
      const records = await capture.caughtUp();
      expect(
        records.filter(({ action }) => action === 'update').map(({ after }) => (after as { v: number }).v),
      ).toEqual([3]);
      expect(records.filter(({ kind }) => kind === 'gap')).toHaveLength(2);
    });

    test('a loss that was found is said also where beside a lock something else keeps it from being put right', async () => {
      await using database = await withTables('');
      const role = `owner_${database.name}`;
      await database.query(`create role ${role} login replication; grant create on database "${database.name}" to ${role};
        grant create on schema public to ${role}; set role ${role}; create table t (id int primary key)`);
      const as = new URL(database.url);
      as.username = role;
      await using capture = await startCapture({ url: database.url, as: as.href, marker: false });
      await capture.record(({ action, object }) => action === 'attach' && object.table === 't', 'the table');
      {
        const sql = `create table a_foreign (id int primary key); create table locked (id int primary key);
          alter table locked owner to ${role}; alter publication changetrail_shop drop table t;
          commit; begin; lock table locked in share update exclusive mode`;
        await using _ = await transaction(database, sql);
        const open = await capture.record(({ kind }) => kind === 'gap', 'a gap');
        expect(open).toMatchObject({ object: { table: 't' }, details: { to: null, cause: 'table_unpublished' } });
      }
      await database.query(`alter table a_foreign owner to ${role}`);
      await capture.record(({ kind, details }) => kind === 'gap' && details!['to'] !== null, 'its end');
      await capture.stop();
      await slotFree(database, SLOT);
      await database.query(`select pg_drop_replication_slot('${SLOT}')`);
      await database.query(`drop owned by ${role}; drop role ${role}`);
    });

    test('replica_identity: full makes nobody wait for a transaction that goes on', async () => {
      await using database = await withTables('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url, source: { replica_identity: 'full' } });
      await capture.caughtUp();
      await database.query('create table report (id int primary key, v int); insert into report values (1, 1)');
      const isFull = async () =>
        (await database.query("select 1 from pg_class where relname = 'report' and relreplident = 'f'")).rows.length >
        0;
      // Before the table is looked at for the first time the transaction must be old enough.
      await until(isFull, { what: 'the table to be altered' });
      await database.query('alter table report replica identity default');
      {
        await using _ = await transaction(database, 'select * from report, pg_sleep(0)');
        await until(async () => (await capture.caughtUp()).length > 0, { what: 'a look' });
        const slowest = await slowestWrite(database, 6_000);
        expect(slowest).toBeLessThan(3_000);
        expect(await isFull()).toBe(false);
      }
      await until(isFull, { what: 'the table to be altered in the end' });
    });

    test('replica_identity: full keeps hold of no table while it waits for another', async () => {
      await using database = await withTables(
        'create table a (id int primary key); create table b (id int primary key)',
      );
      {
        await using _ = await startCapture({ url: database.url });
      }
      const source = { type: 'postgres', url: database.url, tables: ['public.*'], replica_identity: 'full' };
      const options = resolvePostgres('shop', postgresOptions.parse({ ...source, setup: 'auto' }));
      const control = await ControlClient.connect(database.url, 'shop');
      const look = { options, facts: await readServerFacts(control), matcher: tableMatcher(options.tables) };
      const { plan } = await lookAround(control, look);
      {
        await using _ = await transaction(database, 'lock table b in row exclusive mode');
        await expect(applyPlan(control, plan)).rejects.toMatchObject({ data: { sqlstate: '55P03' } });
      }
      await control.close();
      const full = "select relname from pg_class where relname in ('a', 'b') and relreplident = 'f'";
      expect((await database.query(full)).rows).toEqual([{ relname: 'a' }]);
    });

    test('a table that another role holds is held, also where the age of its transaction cannot be seen', async () => {
      await using database = await withTables(
        'create table t (id int primary key); create table u (id int primary key)',
      );
      const role = `blind_${database.name}`;
      await database.query(`create role ${role} login`);
      const as = new URL(database.url);
      as.username = role;
      const control = await ControlClient.connect(as.href, 'shop');
      const { rows } = await database.query("select 't'::regclass::oid::int as t, 'u'::regclass::oid::int as u");
      {
        await using _ = await transaction(database, 'lock table t in row exclusive mode');
        expect(await heldTables(control, [rows[0].t, rows[0].u])).toEqual(new Set([rows[0].t]));
        await database.query(`grant pg_read_all_stats to ${role}`);
        expect(await heldTables(control, [rows[0].t])).toEqual(new Set());
      }
      await control.close();
      await database.query(`drop role ${role}`);
    });

    /** Milliseconds of the slowest of the writes of some seconds, behind the first. */
    async function slowestWrite(database: TestDatabase, forMs: number): Promise<number> {
      let slowest = 0;
      const end = performance.now() + forMs;
      while (performance.now() < end) {
        const began = performance.now();
        await database.query('update report set v = v + 1');
        slowest = Math.max(slowest, performance.now() - began);
      }
      return slowest;
    }

    test.runIf(major >= 18)(
      'a virtual column of a table with REPLICA IDENTITY FULL fails its writes for a second',
      async () => {
        await using database = await withTables(
          'create table t (id int primary key, v int); alter table t replica identity full; insert into t values (1, 1)',
        );
        await using capture = await startCapture({ url: database.url, source: { check_interval: 10 } });
        await capture.caughtUp();
        await database.query('alter table t add column w int generated always as (v * 2) virtual');
        const began = performance.now();
        await until(
          () =>
            database.query('update t set v = 2').then(
              () => true,
              () => false,
            ),
          { what: 'the update to be taken' },
        );
        expect(performance.now() - began).toBeLessThan(6_000);
      },
    );
  });
}
