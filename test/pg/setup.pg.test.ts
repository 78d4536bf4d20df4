// Setting a source up, and what happens to its tables while it is captured.
import { describe, expect, test } from 'vitest';
import { clientConfig } from '../../connectors/postgres/connection-settings.ts';
import { findPassword } from '../../connectors/postgres/password-file.ts';
import type { AuditError } from '../../src/errors/audit-error.ts';
import { CODES } from '../../src/errors/codes.ts';
import { type CaptureOptions, startCapture } from '../support/capture.ts';
import { selfSignedCertificate } from '../support/certificate.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { until } from '../support/wait.ts';

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`setup on PostgreSQL ${major}`, () => {
    async function withDatabase(setup: string, work: (database: TestDatabase) => Promise<void>): Promise<void> {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(setup);
      await work(database);
    }

    /** Starts a capture that is to end by itself, and gives what ended it. */
    async function failureOf(options: CaptureOptions): Promise<AuditError> {
      await using capture = await startCapture({ ...options, waitForStream: false });
      return await until(() => capture.failure as AuditError | undefined, { what: 'the capture to fail' });
    }

    const until1 = async (database: TestDatabase, sql: string) => {
      await until(() => database.query(sql).then(() => true), { what: `${sql} to be taken` });
    };

    test.each([
      ['without a trace in the log', ''],
      ['with an INSERT after it', '; insert into t values (0, 0); delete from other'],
    ])('a primary key dropped while streaming, %s: seen before the next look is due, and said', (_how, after) =>
      withDatabase('create table t (id int primary key, v int); create table other (id int)', async (database) => {
        await using capture = await startCapture({ url: database.url, source: { check_interval: 10 } });
        await database.query(`insert into t values (1, 1); alter table t drop constraint t_pkey${after}`);
        await until1(database, 'update t set v = v + 1');
        const limited = await capture.record(
          (record) => record.action === 'limit' && record.object.table === 't',
          'a record of what is not seen',
        );
        expect(limited).toMatchObject({
          kind: 'capture',
          missing: { update: 'no_replica_identity', delete: 'no_replica_identity' },
          details: { fix: 'alter table "public"."t" replica identity full' },
        });
        expect(capture.log.count('looked_early')).toBe(1);
        await database.query('alter table t add primary key (id)');
        await capture.record(
          (record) => record.action === 'limit_lifted' && record.object.table === 't',
          'the end of it',
        );
        await database.query('insert into t values (2, 2); update t set v = 9 where id = 2');
        const changes = await capture.changes('t');
        expect(changes.map((record) => `${record.action} ${JSON.stringify(record.after)}`)).toEqual([
          'insert {"id":1,"v":1}',
          ...(after === '' ? [] : ['insert {"id":0,"v":0}']),
          'insert {"id":2,"v":2}',
          'update {"id":2,"v":9}',
        ]);
      }),
    );

    test('the first table without a key, made while streaming, is captured', () =>
      withDatabase('create table t (id int primary key)', async (database) => {
        await using capture = await startCapture({ url: database.url });
        await database.query('create table keyless (v int)');
        await capture.record(
          (record) => record.action === 'limit' && record.object.table === 'keyless',
          'the table to be found',
        );
        await database.query(
          'insert into keyless values (1); update keyless set v = 2; delete from keyless; insert into t values (1)',
        );
        await until(
          async () =>
            (await capture.changes('keyless')).length > 0 ||
            database.query('insert into keyless values (2)').then(() => false),
          {
            what: 'an insert to be captured',
          },
        );
        expect((await capture.changes('keyless')).every((record) => record.action === 'insert')).toBe(true);
      }));

    test('tables that come and go are said, with the position from which on', () =>
      withDatabase(
        'create schema archive; create table renamed (id int primary key); create table moved (id int primary key); create table dropped (id int primary key)',
        async (database) => {
          await using capture = await startCapture({
            url: database.url,
            source: { tables: ['public.*', '!public.old_*'] },
          });
          const said = (action: string, table: string) =>
            capture.record(
              (record) => record.kind === 'schema' && record.action === action && record.object.table === table,
              `${action} of ${table}`,
            );
          const { rows } = await database.query('select pg_current_wal_insert_lsn()::text as lsn');
          await database.query('create table made (id int primary key, "V v" numeric(5,1))');
          const attached = await said('attach', 'made');
          expect(attached).toMatchObject({
            after: {
              columns: [
                { name: 'id', type: 'integer' },
                { name: 'V v', type: 'numeric(5,1)' },
              ],
              key: ['id'],
            },
            details: { from: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) },
          });
          const later = await database.query('select $1::pg_lsn > $2::pg_lsn as later', [
            attached.details?.['from'],
            rows[0].lsn,
          ]);
          expect(later.rows[0].later).toBe(true);
          await database.query('insert into made values (1, 1)');
          await database.query(
            'alter table renamed rename to old_one; alter table moved set schema archive; drop table dropped',
          );
          await said('detach', 'renamed');
          await said('detach', 'moved');
          await said('drop', 'dropped');
          await database.query('insert into old_one values (1); insert into archive.moved values (1)');
          expect((await capture.changes()).map((record) => record.object.table)).toEqual(['made']);
        },
      ));

    test('tables that left the patterns while capture was stopped are said at the start', () =>
      withDatabase('create table a (id int primary key); create table b (id int primary key)', async (database) => {
        await using capture = await startCapture({ url: database.url });
        await capture.stop();
        await database.query('create schema archive; alter table a set schema archive');
        await capture.start();
        await capture.record(
          (record) => record.action === 'detach' && record.object.table === 'a',
          'a to be said to have left',
        );
        await database.query('insert into archive.a values (1); insert into b values (1)');
        expect((await capture.changes()).map((record) => record.object.table)).toEqual(['b']);
      }));

    test('a table taken out of the publication by somebody is a gap', () =>
      withDatabase('create table t (id int primary key)', async (database) => {
        await using capture = await startCapture({ url: database.url });
        await database.query('insert into t values (1)');
        await capture.caughtUp();
        await database.query('alter publication changetrail_shop drop table t');
        await database.query('insert into t values (2)');
        const gap = await capture.record((record) => record.kind === 'gap', 'a gap record');
        expect(gap).toMatchObject({
          object: { table: 't' },
          outcome: 'unknown',
          details: { cause: 'table_unpublished' },
        });
        const { rows } = await database.query('select $1::pg_lsn < $2::pg_lsn as inside', [
          gap.details?.['from'],
          gap.details?.['to'],
        ]);
        expect(rows[0].inside).toBe(true);
        await database.query('insert into t values (3)');
        const keys = (await capture.changes('t')).map((record) => (record.object.key as { id: number }).id);
        expect(keys).toEqual([1, 3]);
      }));

    describe('by hand', () => {
      const manual = { setup: 'manual' } as const;

      test('the SQL that is printed makes it work', () =>
        withDatabase('create table "T t" (id int primary key); create table keyless (id int)', async (database) => {
          const failure = await failureOf({ url: database.url, source: manual, marker: false });
          expect(failure).toMatchObject({ code: 'AUD_PG_SETUP' });
          expect(CODES[failure.code].exit).toBe(2);
          const statements = failure.data['statements'] as string[];
          expect(failure.action).toContain(statements[0]);
          const { rows } = await database.query(
            'select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots where database = current_database()) as made',
          );
          expect(Number(rows[0].made)).toBe(0);
          for (const statement of statements) await database.query(statement);
          await using capture = await startCapture({ url: database.url, source: manual, marker: false });
          await database.query(
            'insert into "T t" values (1); insert into keyless values (2); update keyless set id = 3',
          );
          expect((await capture.changes()).map((record) => record.object.table)).toEqual(['T t', 'keyless']);
        }));

      test('what would have to change later is warned of, and nothing is done', () =>
        withDatabase('create table t (id int primary key)', async (database) => {
          const failure = await failureOf({ url: database.url, source: manual, marker: false });
          for (const statement of failure.data['statements'] as string[]) await database.query(statement);
          await using capture = await startCapture({ url: database.url, source: manual, marker: false });
          await database.query('create table later (id int primary key)');
          const warned = await until(() => capture.log.entries.find((entry) => entry['event'] === 'setup_needed'), {
            what: 'a warning',
          });
          expect(warned['action']).toContain('add table only "public"."later"');
          expect((await database.query("select * from pg_publication_tables where tablename = 'later'")).rows).toEqual(
            [],
          );
          expect(capture.failure).toBeUndefined();
        }));

      test('a role with REPLICATION and nothing else is enough', () =>
        withDatabase(
          'create table t (id int primary key, secret text); revoke all on t from public',
          async (database) => {
            const role = `replicator_${database.name}`;
            await database.query(`create role ${role} login replication`);
            const as = new URL(database.url);
            as.username = role;
            const failure = await failureOf({ url: database.url, as: as.href, source: manual, marker: false });
            for (const statement of failure.data['statements'] as string[]) await database.query(statement);
            await using capture = await startCapture({ url: database.url, as: as.href, source: manual, marker: false });
            await database.query("insert into t values (1, 'x')");
            expect(await capture.changes('t')).toHaveLength(1);
            await capture.stop();
            await database.query(`drop role ${role}`);
          },
        ));
    });

    test('a role that may not create the publication is told so, and tries again', () =>
      withDatabase('create table t (id int primary key)', async (database) => {
        const role = `nobody_${database.name}`;
        await database.query(`create role ${role} login replication`);
        const as = new URL(database.url);
        as.username = role;
        await using capture = await startCapture({ url: database.url, as: as.href, waitForStream: false });
        const waiting = await until(() => capture.log.entries.find((entry) => entry['event'] === 'source_waiting'), {
          what: 'the refusal to be said',
        });
        expect(waiting).toMatchObject({
          code: 'AUD_PG_RIGHTS',
          msg: expect.stringMatching(/permission denied|must be owner/),
        });
        await database.query(`alter role ${role} superuser`);
        await database.query('insert into t values (1)');
        await capture.record((record) => record.action === 'start', 'the start');
        await capture.stop();
        await database.query(`reassign owned by ${role} to current_user; drop owned by ${role}; drop role ${role}`);
      }));

    test('a role without REPLICATION is told the statement that gives it', () =>
      withDatabase('create table t (id int primary key)', async (database) => {
        const role = `plain_${database.name}`;
        await database.query(`create role ${role} login`);
        const as = new URL(database.url);
        as.username = role;
        await using capture = await startCapture({ url: database.url, as: as.href, waitForStream: false });
        const said = await until(
          () =>
            capture.failure ??
            (capture.log.entries.find((entry) => entry['event'] === 'source_waiting') as
              | { action?: string }
              | undefined),
          { what: 'the refusal to be said' },
        );
        expect((said as { action?: string }).action).toContain(`alter role "${role}" replication`);
        await capture.stop();
        await database.query(`drop role ${role}`);
      }));

    test('a database without an encoding: text that is no UTF-8 is replaced, and said', async () => {
      const server = await providePostgres({ major });
      const name = `ascii_${Date.now()}_${major}`;
      await server.query(`create database ${name} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0`);
      const url = server.url(name);
      try {
        await server.query(
          'create table t (id int primary key, v text); alter table t replica identity full',
          [],
          name,
        );
        await using capture = await startCapture({ url });
        await server.query(
          "insert into t values (1, convert_from('\\x61ff62'::bytea, 'SQL_ASCII')), (2, 'ü')",
          [],
          name,
        );
        await server.query('update t set id = 3 where id = 1', [], name);
        const [broken, valid, updated] = await capture.changes('t');
        expect(broken).toMatchObject({ after: { id: 1, v: 'a\ufffdb' }, missing: { 'after.v': 'invalid_utf8' } });
        expect(valid).toMatchObject({ after: { id: 2, v: 'ü' } });
        expect(valid?.missing).toBeUndefined();
        expect(updated).toMatchObject({
          changed: ['id'],
          missing: { 'before.v': 'invalid_utf8', 'after.v': 'invalid_utf8' },
        });
      } finally {
        await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1', [
          name,
        ]);
        await server.query(`drop database ${name} with (force)`);
      }
    });

    test('a database in another encoding is written as UTF-8', async () => {
      const server = await providePostgres({ major });
      const name = `latin_${Date.now()}_${major}`;
      await server.query(`create database ${name} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0`);
      try {
        await server.query('create table "tä" (id int primary key, "ö" text)', [], name);
        await using capture = await startCapture({ url: server.url(name) });
        await server.query('insert into "tä" values (1, \'Grüße\')', [], name);
        expect((await capture.changes('tä'))[0]).toMatchObject({ object: { table: 'tä' }, after: { ö: 'Grüße' } });
      } finally {
        await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1', [
          name,
        ]);
        await server.query(`drop database ${name} with (force)`);
      }
    });

    test('TLS and SCRAM, as the URL asks for them', async () => {
      const tls = selfSignedCertificate();
      await using server = await providePostgres({
        major,
        fresh: true,
        auth: 'scram',
        tls: { cert: tls.cert, key: tls.key },
      });
      await using database = await server.createDatabase();
      await database.query(
        "create table t (id int primary key); create role app login replication superuser password 'p@ss w/örd'",
      );
      const as = new URL(database.url);
      as.username = 'app';
      as.password = encodeURIComponent('p@ss w/örd');
      as.searchParams.set('sslmode', 'no-verify');
      await using capture = await startCapture({ url: database.url, as: as.href });
      const { rows } = await database.query(
        "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'changetrail%' or backend_type = 'walsender'",
      );
      expect(rows.length).toBeGreaterThanOrEqual(2);
      expect(rows.every((row: { ssl: boolean }) => row.ssl)).toBe(true);
      await database.query('insert into t values (1)');
      expect(await capture.changes('t')).toHaveLength(1);
      await capture.stop();
      as.searchParams.set('sslmode', 'verify-full');
      await using refused = await startCapture({ url: database.url, as: as.href, waitForStream: false });
      const waiting = await until(() => refused.log.entries.find((entry) => entry['event'] === 'source_waiting'), {
        what: 'the certificate to be refused',
      });
      expect(waiting).toMatchObject({ code: 'AUD_PG_CONNECT', msg: expect.stringMatching(/certificate|self-signed/i) });
      expect(JSON.stringify(refused.log.entries)).not.toContain('ss w');
    });
  });
}

describe('the url of a source', () => {
  const environment = async (values: Record<string, string>, work: () => void) => {
    const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
    Object.assign(process.env, values);
    try {
      work();
    } finally {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  };

  test('must name a database, in itself or in the environment', () => {
    const code = { code: 'AUD_PG_URL' };
    for (const url of ['postgres://user@host', 'postgres://user@host/', 'postgres://', 'postgres://%zz']) {
      expect(() => clientConfig(url, 'shop')).toThrow(expect.objectContaining(code));
    }
    clientConfig('postgres://user@host/db', 'shop');
    return environment({ PGDATABASE: 'db' }, () => void clientConfig('postgres://user@host', 'shop'));
  });

  test('keeps its own options, or those of the environment, before the pinned ones', async () => {
    const { options } = clientConfig('postgres://h/d?sslmode=disable&options=-c%20work_mem%3D1MB', 'shop');
    expect(options).toMatch(/^-c work_mem=1MB -c datestyle=ISO /);
    await environment({ PGOPTIONS: '-c work_mem=2MB' }, () => {
      expect(clientConfig('postgres://h/d', 'shop').options).toMatch(/^-c work_mem=2MB -c datestyle=ISO /);
    });
  });

  test('cannot set what would change values or end what has to wait', () => {
    const url =
      'postgres://h/d?statement_timeout=1&query_timeout=1&replication=true&client_encoding=latin1&datestyle=SQL';
    expect(Object.keys(clientConfig(url, 'shop'))).toEqual(Object.keys(clientConfig('postgres://h/d', 'shop')));
  });

  test.each([
    'host=h dbname=d',
    'localhost/d',
    'mysql://h/d',
    'postgres://u@h/?dbname=d',
    'postgres://u@/?host=/run/postgresql',
    'socket:/run/postgresql',
    '/run/postgresql',
  ])('%s is refused: pg would guess', (url) => {
    expect(() => clientConfig(url, 'shop')).toThrow(expect.objectContaining({ code: 'AUD_PG_URL' }));
  });

  test.each([
    ['postgres:///d?host=/run/postgresql', '/run/postgresql'],
    ['postgres://u@/d?host=/run/postgresql', '/run/postgresql'],
    ['postgres://u:p@%2Frun%2Fpostgresql/d', '/run/postgresql'],
    ['socket://u:p@/run/postgresql?db=d', '/run/postgresql'],
    ['/run/postgresql d', '/run/postgresql'],
    ['postgresql://u@[::1]:5433/d', '::1'],
  ])('%s is taken', (url, host) => {
    expect(clientConfig(url, 'shop')).toMatchObject({ host, database: 'd' });
  });
});

describe('the password file', () => {
  const wanted = { host: 'db.example', port: 5432, database: 'shop', user: 'app' };
  test.each([
    ['db.example:5432:shop:app:one', 'one'],
    ['*:*:*:*:any', 'any'],
    ['# db.example:5432:shop:app:no\ndb.example:5433:shop:app:no\n\n*:*:shop:app:two\n*:*:*:*:three', 'two'],
    [String.raw`*:*:*:app:a\:b\\c:d`, String.raw`a:b\c`],
    ['*:*:*:app:with # and spaces \r\n', 'with # and spaces '],
    ['*:*:*:other:no', undefined],
    ['nonsense', undefined],
  ])('%j', (text, password) => {
    expect(findPassword(text, wanted)).toBe(password);
  });

  test('a socket is found by its directory or as localhost', () => {
    const socket = { ...wanted, host: '/run/postgresql' };
    expect(findPassword('localhost:*:*:*:one', socket)).toBe('one');
    expect(findPassword('/run/postgresql:*:*:*:two', socket)).toBe('two');
    expect(findPassword('localhost:*:*:*:one', wanted)).toBeUndefined();
  });
});
