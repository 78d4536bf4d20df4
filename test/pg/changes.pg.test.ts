// Every kind of message and every replica identity, as records.
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';

/** Too long for its row, and not to be compressed: kept out of line. */
const TOAST = "(select string_agg(md5(i::text), '') from generate_series(1, 400) i)";

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`changes of PostgreSQL ${major}`, () => {
    /** Captures `sql` after `setup` and gives the changes as short objects. */
    async function changesOf(setup: string, sql: string | readonly string[], source = {}) {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(setup);
      await using capture = await startCapture({ url: database.url, source });
      for (const statement of [sql].flat()) await database.query(statement);
      const changes = await capture.changes();
      return changes.map(({ action, object, changed, missing, details, before, after }) =>
        JSON.parse(JSON.stringify({ action, ...object, changed, missing, details, before, after })),
      );
    }

    const update = (fields: object) => ({ action: 'update', schema: 'public', table: 't', ...fields });

    describe.each(['default', 'index', 'full', 'nothing'] as const)('replica identity %s', (identity) => {
      const setup = `create table t (id int primary key, code text not null unique, big text, v int);
        alter table t alter big set storage external;
        alter table t replica identity ${identity === 'index' ? 'using index t_code_key' : identity}`;

      test('insert, update, key change and delete', async () => {
        const row = { id: 1, code: 'a', big: null, v: null };
        const changes = await changesOf(setup, [
          "insert into t values (1, 'a', null, null)",
          'update t set v = 5',
          "update t set code = 'b', id = 2",
          'delete from t',
        ]);
        const inserted = { action: 'insert', schema: 'public', table: 't', after: row };
        if (identity === 'nothing') {
          expect(changes).toEqual([{ ...inserted, key: { id: 1 } }]);
          return;
        }
        const [key, moved] = identity === 'index' ? [{ code: 'a' }, { code: 'b' }] : [{ id: 1 }, { id: 2 }];
        const none = { missing: { before: `replica_identity_${identity}` } };
        const last = { ...row, v: 5, code: 'b', id: 2 };
        const full = identity === 'full';
        expect(changes).toEqual([
          { ...inserted, key },
          update({ key, after: { ...row, v: 5 }, ...(full ? { changed: ['v'], before: row } : none) }),
          update({
            key: moved,
            old_key: key,
            after: last,
            ...(full ? { changed: ['id', 'code'], before: { ...row, v: 5 } } : none),
          }),
          { action: 'delete', schema: 'public', table: 't', key: moved, ...(full ? { before: last } : none) },
        ]);
      });

      test.skipIf(identity === 'nothing')(
        'a long value that did not change is filled in, or said to be missing',
        async () => {
          const changes = await changesOf(setup, [`insert into t values (1, 'a', ${TOAST}, 1)`, 'update t set v = 2']);
          const [inserted, updated] = changes;
          expect(inserted.after.big).toHaveLength(400 * 32);
          if (identity === 'full') {
            expect(updated).toEqual(
              update({ key: { id: 1 }, changed: ['v'], before: inserted.after, after: { ...inserted.after, v: 2 } }),
            );
          } else {
            expect(updated.missing).toEqual({ before: `replica_identity_${identity}`, 'after.big': 'unchanged_toast' });
            expect(updated.after).toEqual({ id: 1, code: 'a', v: 2 });
          }
        },
      );
    });

    test('a long key that did not change is taken from the old row', async () => {
      const [inserted, updated] = await changesOf(
        'create table t (id text primary key, v int); alter table t alter id set storage external',
        // Longer than a page holds four of, and short enough for the index.
        ["insert into t values (repeat('0123456789', 240), 1)", 'update t set v = 2'],
      );
      expect(updated).toEqual(
        update({
          key: inserted.key,
          missing: { before: 'replica_identity_default' },
          after: { ...inserted.after, v: 2 },
        }),
      );
    });

    test('keys of several columns come in the order of the key; none without a key', async () => {
      const changes = await changesOf(
        `create table t (a int, b text, c int, primary key (c, a)); create table u (a int); create table w (a int, b int, primary key (b) include (a));
         alter table w replica identity full`,
        [
          "insert into t values (1, 'x', 3)",
          'insert into u values (1)',
          'insert into w values (1, 2)',
          'update t set a = 2',
        ],
      );
      expect(
        changes.map(({ table, key, old_key }) => ({ table, key: JSON.stringify(key), old: JSON.stringify(old_key) })),
      ).toEqual([
        { table: 't', key: '{"c":3,"a":1}', old: undefined },
        { table: 'u', key: undefined, old: undefined },
        { table: 'w', key: '{"b":2}', old: undefined },
        { table: 't', key: '{"c":3,"a":2}', old: '{"c":3,"a":1}' },
      ]);
    });

    test('NULL and the empty string are two things', async () => {
      const [inserted, updated] = await changesOf(
        'create table t (id int primary key, a text, b text, c text[], d json); alter table t replica identity full',
        ["insert into t values (1, null, '', '{NULL,\"\"}', 'null')", "update t set a = '', b = null, d = null"],
      );
      expect(inserted.after).toEqual({ id: 1, a: null, b: '', c: [null, ''], d: null });
      expect(updated.changed).toEqual(['a', 'b', 'd']);
    });

    test('generated columns are recorded where the server publishes them, and named where not', async () => {
      const virtual = major >= 18 ? ', w int generated always as (v * 3) virtual' : '';
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(
        `create table t (id int primary key, v int, g int generated always as (v * 2) stored${virtual})`,
      );
      await using capture = await startCapture({ url: database.url });
      await database.query('insert into t values (1, 4)');
      const [record] = await capture.changes('t');
      expect(record?.after).toEqual(major >= 18 ? { id: 1, v: 4, g: 8 } : { id: 1, v: 4 });
      const attached = capture.records().find((one) => one.kind === 'schema' && one.object.table === 't');
      expect((attached!.after as { not_captured?: string[] }).not_captured).toEqual(major >= 18 ? ['w'] : ['g']);
    });

    test('TRUNCATE is a record for each table, with its options', async () => {
      const changes = await changesOf(
        `create table a (id int primary key generated always as identity); create table b (id int primary key, a int references a);
         create table c (id int); create schema hidden; create table hidden.d (id int)`,
        ['truncate a restart identity cascade', 'truncate c, b, hidden.d', 'truncate c'],
      );
      const record = (table: string, cascade: boolean, restart: boolean) => ({
        action: 'truncate',
        schema: 'public',
        table,
        missing: { before: 'truncate' },
        details: { cascade, restart_identity: restart },
      });
      expect(changes).toEqual([
        record('a', true, true),
        record('b', true, true),
        record('c', false, false),
        record('b', false, false),
        record('c', false, false),
      ]);
    });

    test('a change replicated from elsewhere names its origin', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      const origin = `other "${database.name}"`;
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      await database.query(`select pg_replication_origin_create('${origin}')`);
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      for (const statement of [
        `select pg_replication_origin_session_setup('${origin}')`,
        "begin; select pg_replication_origin_xact_setup('0/ABC', now()); insert into t values (1); commit",
        'select pg_replication_origin_session_reset()',
        'insert into t values (2)',
      ]) {
        await client.query(statement);
      }
      await client.end();
      expect((await capture.changes('t')).map((record) => record.source['origin'])).toEqual([origin, undefined]);
      await database.query(`select pg_replication_origin_drop('${origin}')`);
    });

    test('logical messages: those of a transaction name the actor, the others change nothing', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      const emit = (transactional: boolean, id: string, prefix = 'changetrail') =>
        `select pg_logical_emit_message(${transactional}, '${prefix}', '{"id":"${id}"}')`;
      await database.query(
        `begin; ${emit(true, 'ann')}; insert into t values (1); ${emit(true, 'bob')}; insert into t values (2); commit`,
      );
      await database.query(`begin; ${emit(false, 'eve')}; insert into t values (3); commit; ${emit(false, 'eve')}`);
      await database.query(`begin; ${emit(true, 'eve', 'unknown')}; insert into t values (4); commit`);
      await database.query(emit(true, 'nobody'));
      const changes = await capture.changes('t');
      expect(changes.map((record) => record.actor?.id)).toEqual(['ann', 'bob', undefined, undefined]);
      expect(changes[0]?.actor).toMatchObject({ assurance: 'claimed', via: 'message' });
      expect(changes[2]?.actor?.assurance).toBe('none');
      expect(changes.map((record) => record.source.seq)).toEqual([0, 1, 0, 0]);
    });

    test('savepoints and rollbacks: nothing aborted is recorded', async () => {
      const changes = await changesOf('create table t (id int primary key)', [
        'begin; insert into t values (1); rollback',
        `begin; insert into t values (2); savepoint a; insert into t values (3); rollback to a; insert into t values (4);
         savepoint b; insert into t values (5); release b; savepoint c; truncate t; rollback to c; commit`,
        'do $$ begin insert into t values (6); begin insert into t values (7); raise exception $e$x$e$; exception when others then null; end; end $$',
      ]);
      expect(changes.map(({ action, key }) => `${action} ${key.id}`)).toEqual([
        'insert 2',
        'insert 4',
        'insert 5',
        'insert 6',
      ]);
    });

    test('prepared transactions: recorded when committed, in the order of commits', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      const gid = (n: number) => `'${database.name}_${n}'`;
      await database.query(`begin; insert into t values (1); prepare transaction ${gid(1)}`);
      await database.query(`begin; insert into t values (2); prepare transaction ${gid(2)}`);
      await database.query('insert into t values (3)');
      expect((await capture.changes('t')).map((record) => record.object.key)).toEqual([{ id: 3 }]);
      await capture.stop();
      await capture.start();
      await database.query(`rollback prepared ${gid(1)}`);
      await database.query(`commit prepared ${gid(2)}`);
      await database.query('insert into t values (4)');
      expect((await capture.changes('t')).map((record) => record.object.key)).toEqual([3, 2, 4].map((id) => ({ id })));
    });

    test('ten thousand empty transactions leave no record and are confirmed', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key); create schema other; create table other.x (id int)');
      await using capture = await startCapture({ url: database.url });
      // Records of the stream: heads and notes about the capture itself come when they like.
      const streamed = () => capture.records().filter((record) => record.source.seq !== undefined).length;
      const before = streamed();
      await database.query(
        'do $$ begin for i in 1..10000 loop insert into other.x values (i); commit; end loop; end $$',
      );
      await database.query('do $$ begin for i in 1..10000 loop perform pg_current_xact_id(); commit; end loop; end $$');
      await database.query('insert into t values (1)');
      expect((await capture.changes()).length).toBe(1);
      expect(streamed()).toBe(before + 1);
    });

    test('partitioned tables: under the partition, or under the table', async () => {
      const setup = `create table p (id int primary key, v int) partition by range (id);
        create table p1 partition of p for values from (0) to (10); create table p2 partition of p for values from (10) to (20);
        create table later (id int primary key, v int)`;
      const sql = [
        'insert into p values (1, 1), (11, 2)',
        // From one partition into another: a delete and an insert.
        'update p set id = 12 where id = 1',
        'alter table p detach partition p1; insert into p1 values (5, 5)',
        'insert into later values (25, 1); alter table p attach partition later for values from (20) to (30); insert into p values (26, 1)',
        'truncate p',
      ];
      const places = (changes: { action: string; table: string; key?: { id: number } }[]) =>
        changes.map(({ action, table, key }) => `${action} ${table} ${key?.id ?? ''}`.trim());
      const leaf = places(await changesOf(setup, sql));
      expect(leaf.slice(0, 4)).toEqual(['insert p1 1', 'insert p2 11', 'delete p1 1', 'insert p2 12']);
      expect(leaf).toContain('insert later 26');
      expect(leaf.slice(-2).sort()).toEqual(['truncate later', 'truncate p2']);
      const root = places(await changesOf(setup, sql, { partitions: 'root' }));
      expect(root.slice(0, 4)).toEqual(['insert p 1', 'insert p 11', 'delete p 1', 'insert p 12']);
      // An older server goes on publishing an attached partition under its own name until the publication changes.
      expect(root.filter((place) => place.endsWith(' 26'))).toEqual([
        major >= 18 ? 'insert p 26' : expect.stringMatching(/^insert (p|later) 26$/),
      ]);
      expect(root).toContain('truncate p');
    });

    test('the old row of a partition that has not the replica identity of its table is not invented', async () => {
      const changes = await changesOf(
        `create table p (id int primary key, v int) partition by list (id); create table p1 partition of p for values in (1);
         create table p2 partition of p for values in (2); alter table p replica identity full; alter table p1 replica identity full`,
        ['insert into p values (1, 10), (2, 20)', 'update p set v = v + 1', 'delete from p'],
        { partitions: 'root' },
      );
      const of = (id: number, action: string) =>
        changes.find((change) => change.action === action && change.key.id === id);
      expect(of(1, 'update')).toMatchObject({ before: { id: 1, v: 10 }, changed: ['v'] });
      expect(of(1, 'delete')).toMatchObject({ before: { id: 1, v: 11 } });
      expect(of(2, 'update').before).toBeUndefined();
      expect(of(2, 'delete').before).toBeUndefined();
      expect(of(2, 'delete').missing).toEqual({ before: 'replica_identity_of_partition' });
    });

    test('names that need quoting, for schema, table and column', async () => {
      const names = [
        'Upper',
        'with "quotes"',
        'dot.ted',
        'sp ace',
        'ünï🧨',
        'select',
        "it's",
        'back\\slash',
        '{"json":1}',
        '%s $1 *?',
        '-',
        '\t\n',
      ];
      const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      for (const name of names) {
        await database.query(
          `create schema ${quote(name)}; create table ${quote(name)}.${quote(`t${name}`)} (${quote(name)} int primary key, v int)`,
        );
      }
      await using capture = await startCapture({ url: database.url, source: { tables: ['*.*'] } });
      for (const name of names) await database.query(`insert into ${quote(name)}.${quote(`t${name}`)} values (1, 2)`);
      expect((await capture.changes()).map(({ object, after }) => ({ object, after }))).toEqual(
        names.map((name) => ({
          object: { schema: name, table: `t${name}`, key: { [name]: 1 } },
          after: { [name]: 1, v: 2 },
        })),
      );
    });

    test('1,600 columns', async () => {
      const columns = Array.from({ length: 1600 }, (_, i) => `c${i}`);
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(`create table t (${columns.map((name) => `${name} ${name === 'c0' ? 'int primary key' : 'bool'}`).join(', ')});
        alter table t replica identity full`);
      await using capture = await startCapture({ url: database.url });
      await database.query(
        `insert into t values (1, ${columns.slice(1).map((_, i) => (i % 3 === 0 ? 'null' : i % 3 === 1))})`,
      );
      await database.query('update t set c1599 = not c1599, c1 = true');
      const [inserted, updated] = await capture.changes('t');
      const after = Object.fromEntries(
        columns.map((name, i) => [name, i === 0 ? 1 : (i - 1) % 3 === 0 ? null : (i - 1) % 3 === 1]),
      );
      expect(inserted?.after).toEqual(after);
      expect(updated?.changed).toEqual(['c1', ...(after['c1599'] === null ? [] : ['c1599'])]);
      expect(updated?.before).toEqual(after);
    });

    test('positions, transaction ids and commit times are the server’s', async () => {
      await using server = await providePostgres({ major, fresh: true, settings: { track_commit_timestamp: 'on' } });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      const wanted: { id: number; tx: string }[] = [];
      for (let id = 0; id < 20; id++) {
        const { rows } = await database.query(`insert into t values (${id}) returning xmin::text as tx`);
        wanted.push({ id, tx: rows[0].tx });
      }
      const changes = await capture.changes('t');
      expect(changes.map((record) => ({ id: (record.object.key as { id: number }).id, tx: record.source.tx }))).toEqual(
        wanted,
      );
      const { rows } = await database.query(
        `select to_char(pg_xact_commit_timestamp(xmin) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time from t order by id`,
      );
      expect(changes.map((record) => record.time)).toEqual(rows.map((row: { time: string }) => row.time));
      const positions = changes.map((record) => record.source.lsn);
      const { rows: ordered } = await database.query(
        'select array_agg(l::text order by l) as sorted from unnest($1::pg_lsn[]) l',
        [positions],
      );
      expect(positions).toEqual(ordered[0].sorted);
    });
  });
}
