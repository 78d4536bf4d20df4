// What comes between the product and a server passes or is said; the stream goes on with nothing lost and nothing twice.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors/codes.ts';
import { type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { until } from '../support/wait.ts';
import { Link } from './support/link.ts';

const SLOT = 'changetrail_shop';
const SLOW = process.env['CHANGETRAIL_SLOW'] === '1';

async function withTable(database: TestDatabase): Promise<void> {
  await database.query('create table t (id int primary key)');
}

const insert = (database: TestDatabase, id: number) => database.query(`insert into t values (${id})`);

async function expectIds(capture: Capture, ids: readonly number[]): Promise<void> {
  const records = await capture.caughtUp();
  const changes = records.filter((record) => record.kind === 'change');
  expect(changes.map((record) => (record.object.key as { id: number }).id)).toEqual(ids);
  expect(records.filter((record) => record.kind === 'gap')).toEqual([]);
}

function waiting(capture: Capture, code: string) {
  return until(() => capture.log.entries.find((e) => e['event'] === 'source_waiting' && e['code'] === code), {
    what: `the log to say ${code}`,
  });
}

/** The server's process that streams to us. */
async function walsender(database: TestDatabase): Promise<number | undefined> {
  const sql = 'select active_pid from pg_replication_slots where slot_name = $1';
  return (await database.query(sql, [SLOT])).rows[0]?.active_pid ?? undefined;
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`reconnecting to PostgreSQL ${major}`, () => {
    test('a terminated walsender is replaced', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using capture = await startCapture({ url: database.url });
      await insert(database, 1);
      const first = await walsender(database);
      await database.query('select pg_terminate_backend($1)', [first]);
      await insert(database, 2);
      await expectIds(capture, [1, 2]);
      expect(await walsender(database)).not.toBe(first);
      expect(capture.log.entries.some((e) => e['code'] === 'AUD_PG_CONNECT')).toBe(true);
    });

    test('a network cut again and again under load loses nothing and repeats nothing', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using link = await Link.start(server.port);
      await using capture = await startCapture({ url: database.url, as: link.through(database.url) });
      for (let i = 0; i < 5; i++) {
        await database.query(`insert into t select generate_series(${i * 1000 + 1}, ${i * 1000 + 1000})`);
        link.cut();
      }
      await expectIds(
        capture,
        Array.from({ length: 5000 }, (_, i) => i + 1),
      );
    });

    test('a server that cannot be reached is asked again after growing waits, never in a busy loop', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using link = await Link.start(server.port);
      await using capture = await startCapture({ url: database.url, as: link.through(database.url) });
      link.open = false;
      link.attempts.length = 0;
      link.cut();
      await waiting(capture, 'AUD_PG_CONNECT');
      await sleep(5_000);
      // At least 100 ms apart, up to 200 ms, 400 ms, 800 ms … drawn at random, and a look a second of the watch.
      expect(link.attempts.length).toBeGreaterThan(0);
      expect(link.attempts.length).toBeLessThan(40);
      link.open = true;
      await insert(database, 1);
      await expectIds(capture, [1]);
    });

    test('over a network that swallows everything a stop still ends', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using link = await Link.start(server.port);
      await using capture = await startCapture({ url: database.url, as: link.through(database.url) });
      await insert(database, 1);
      await capture.caughtUp();
      link.silence();
      await capture.stop();
      expect(capture.failure).toBeUndefined();
      link.speak();
    });

    test.runIf(SLOW)(
      'a network that swallows everything is noticed, and the stream goes on over a new connection',
      { timeout: 180_000 },
      async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await withTable(database);
        await using link = await Link.start(server.port);
        await using capture = await startCapture({ url: database.url, as: link.through(database.url) });
        link.silence();
        await until(() => capture.log.entries.some((e) => /silent/.test(String(e['msg']))), {
          what: 'the silence to be noticed',
          timeoutMs: 120_000,
        });
        link.speak();
        await insert(database, 1);
        await expectIds(capture, [1]);
      },
    );

    test('wal_sender_timeout: an idle connection stays, a silent one is made anew', async () => {
      const server = await providePostgres({ major, settings: { wal_sender_timeout: '2s' } });
      await using database = await server.createDatabase();
      await withTable(database);
      await using link = await Link.start(server.port);
      await using capture = await startCapture({ url: database.url, as: link.through(database.url) });
      const first = await walsender(database);
      await sleep(5_000);
      expect(await walsender(database)).toBe(first);
      link.silence();
      await until(async () => (await walsender(database)) === undefined, { what: 'the server to give up' });
      await insert(database, 1);
      link.speak();
      await expectIds(capture, [1]);
    });

    test('a wrong password is said, asked again slowly, and mended without a restart', async () => {
      const server = await providePostgres({ major, auth: 'scram' });
      await using database = await server.createDatabase();
      await withTable(database);
      const role = `r_${database.name}`;
      await server.query(`create role ${role} superuser login password 'right-secret'`);
      const url = new URL(database.url);
      url.username = role;
      url.password = 'right-secret';
      await using capture = await startCapture({ url: database.url, as: url.href });
      await server.query(`alter role ${role} password 'other-secret'`);
      await database.query('select pg_terminate_backend($1)', [await walsender(database)]);
      const said = await waiting(capture, 'AUD_PG_AUTH');
      expect(said['wait_ms']).toBeGreaterThanOrEqual(5_000);
      await insert(database, 1);
      await server.query(`alter role ${role} password 'right-secret'`);
      await expectIds(capture, [1]);
      expect(JSON.stringify(capture.log.entries)).not.toContain('secret');
      await capture.stop();
      await server.query(`reassign owned by ${role} to postgres`, [], database.name);
      await server.query(`drop owned by ${role}`, [], database.name);
      await server.query(`drop role ${role}`);
    });

    test('a slot that another client reads is said with its pid, and taken when it is free', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using capture = await startCapture({ url: database.url });
      await insert(database, 1);
      await capture.caughtUp();
      await capture.stop();
      const other = new pg.Client({ connectionString: database.url, replication: 'database' } as pg.ClientConfig);
      other.on('error', () => undefined);
      await other.connect();
      const read = () =>
        other.query(
          `START_REPLICATION SLOT ${SLOT} LOGICAL 0/0 (proto_version '1', publication_names 'changetrail_shop')`,
        );
      void read().catch(() => undefined);
      const pid = await until(() => walsender(database), { what: 'the other client to read the slot' });
      await capture.start().catch(() => undefined);
      const said = await waiting(capture, 'AUD_PG_SLOT_IN_USE');
      expect(said['msg']).toContain(`process ${pid}`);
      await database.query('select pg_terminate_backend($1)', [pid]);
      await insert(database, 2);
      await expectIds(capture, [1, 2]);
      await other.end().catch(() => undefined);
    });

    test('a slot that waits for a running transaction can be stopped, and is there the next time', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      const other = new pg.Client({ connectionString: database.url });
      other.on('error', () => undefined);
      await other.connect();
      await other.query('begin; create table other (id int)');
      await using capture = await startCapture({ url: database.url, marker: false, waitForStream: false });
      await until(() => capture.log.count('slot_creating'), { what: 'the slot to be asked for' });
      await capture.stop();
      expect(capture.failure).toBeUndefined();
      await other.query('commit');
      await other.end();
      await capture.start();
      await until(() => walsender(database), { what: 'the slot to be read' });
      await insert(database, 1);
      await expectIds(capture, [1]);
    });

    test('a server restarted in every way; a fast shutdown does not wait for us', { timeout: 180_000 }, async () => {
      await using server = await providePostgres({ major, fresh: true, settings: { fsync: 'on' } });
      await using database = await server.createDatabase();
      await withTable(database);
      await using capture = await startCapture({ url: database.url });
      const SOON_MS = 20_000; // wal_sender_timeout, after which the server would give up on us, is 60 s.

      await insert(database, 1);
      await capture.caughtUp();
      let began = Date.now();
      await server.stop('fast');
      expect(Date.now() - began).toBeLessThan(SOON_MS);
      await server.start();
      await insert(database, 2);
      await expectIds(capture, [1, 2]);

      await database.query('insert into t select generate_series(3, 60000)');
      began = Date.now();
      await server.stop('fast');
      expect(Date.now() - began).toBeLessThan(SOON_MS);
      await server.start();
      await database.query('insert into t select generate_series(60001, 90000)');
      await server.stop('immediate');
      await server.start();
      await insert(database, 90_001);
      await expectIds(
        capture,
        Array.from({ length: 90_001 }, (_, i) => i + 1),
      );
    });
  });
}

describe('a server that cannot be captured', async () => {
  const major = postgresMajors().at(-1)!;
  const skip = await postgresMissing(major);

  const failureOf = (capture: Capture) =>
    capture.done.then(
      () => null,
      (error) => error,
    );

  test.skipIf(skip)('wal_level below logical ends the run with the statement that mends it', async () => {
    const server = await providePostgres({ major, settings: { wal_level: 'replica' } });
    await using database = await server.createDatabase();
    await withTable(database);
    await using capture = await startCapture({ url: database.url, waitForStream: false });
    const error = await failureOf(capture);
    expect(error).toMatchObject({ code: 'AUD_PG_WAL_LEVEL', retry: 'never' });
    expect(error.action).toContain('alter system set wal_level = logical');
    expect(CODES.AUD_PG_WAL_LEVEL.exit).toBe(2);
  });

  test.skipIf(skip)(
    'without setup: auto a missing publication and slot end the run with the SQL, which is enough',
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await withTable(database);
      await using capture = await startCapture({
        url: database.url,
        source: { setup: 'manual' },
        marker: false,
        waitForStream: false,
      });
      const error = await failureOf(capture);
      expect(error).toMatchObject({ code: 'AUD_PG_SETUP', retry: 'never' });
      expect(CODES.AUD_PG_SETUP.exit).toBe(2);
      for (const statement of error.data.statements) await database.query(statement);
      await capture.start();
      await until(() => walsender(database), { what: 'the slot to be read' });
      await insert(database, 1);
      await expectIds(capture, [1]);
    },
  );

  test.skipIf(skip)('a role without REPLICATION ends the run with the statement that grants it', async () => {
    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await withTable(database);
    const role = `r_${database.name}`;
    await server.query(`create role ${role} login`);
    const url = new URL(database.url);
    url.username = role;
    await using capture = await startCapture({ url: database.url, as: url.href, waitForStream: false });
    const error = await failureOf(capture);
    expect(error).toMatchObject({ code: 'AUD_PG_RIGHTS', retry: 'never' });
    expect(error.action).toContain(`alter role "${role}" replication`);
    await server.query(`drop role ${role}`);
  });
});
