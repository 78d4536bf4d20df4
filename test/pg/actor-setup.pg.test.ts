import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCapture } from '../support/capture.ts';
import { type PostgresServer, postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`changetrail setup --session-context on PostgreSQL ${major}`, () => {
    let server: PostgresServer;
    let directory: TemporaryDirectory;
    const owner = `owner_${process.pid}_${major}`;

    beforeAll(async () => {
      server = await providePostgres({ major });
      directory = await temporaryDirectory();
      await server.query(`create role ${owner} login replication password 'secret-word'`);
    });
    afterAll(async () => {
      await server?.query(`drop role if exists ${owner}`);
      await directory?.[Symbol.asyncDispose]();
    });

    const actors = { settings: [{ name: 'app.user_id' }], roles: [{ match: owner, is: 'application' }] };

    /** A database of `owner` with a table, and a configuration file that logs in as `owner`. */
    async function shop() {
      const database = await server.createDatabase();
      await server.query(`alter database "${database.name}" owner to ${owner}`);
      await database.query(
        `alter schema public owner to ${owner}; set role ${owner}; create table t (id int primary key)`,
      );
      const url = new URL(database.url);
      url.username = owner;
      url.password = 'secret-word';
      const config = join(directory.path, `${database.name}.yaml`);
      const sources = { shop: { type: 'postgres', url: url.href, tables: ['public.*'], setup: 'auto' } };
      writeFileSync(config, JSON.stringify({ data: join(directory.path, database.name), sources, actors }));
      return { database, url: url.href, config };
    }

    const changetrail = (...args: string[]) => run(process.execPath, [MAIN, ...args]);

    test('prints what would be done and does nothing; what it prints, run by an administrator, works', async () => {
      const { database, url, config } = await shop();
      await using _ = database;
      const printed = await changetrail('setup', '--session-context', '--config', config);
      const nothing = await database.query("select 1 from pg_namespace where nspname = 'changetrail'");
      expect(nothing.rows).toEqual([]);
      expect(printed.stdout).not.toContain('secret-word');
      await database.query(printed.stdout);
      await using capture = await startCapture({ url, configuration: { actors } });
      await using client = await connect(url);
      await client.pg.query("set app.user_id = 'alice'; insert into t values (1)");
      await client.pg.query('reset app.user_id; insert into t values (2); create table late (id int primary key)');
      await client.pg.query('insert into t values (3)');
      const seen = (await capture.changes('t')).map((one) => one.actor);
      expect(seen[0]).toMatchObject({
        id: 'alice',
        assurance: 'claimed',
        via: 'session',
        db_user: owner,
        db_type: 'application',
      });
      expect(seen[1]).toMatchObject({ id: owner, assurance: 'verified', via: 'session', type: 'application' });
      expect(await attached(database, 'late')).toBe(true);
    });

    test('--apply by an owner who is no superuser: new tables get the trigger from the capture', async () => {
      const { database, url, config } = await shop();
      await using _ = database;
      await changetrail('setup', '--session-context', '--apply', '--config', config);
      await using capture = await startCapture({ url, configuration: { actors } });
      await using client = await connect(url);
      await client.pg.query('create table late (id int primary key)');
      await until(() => attached(database, 'late'), { what: 'the trigger on the new table' });
      await client.pg.query('insert into late values (1)');
      expect((await capture.changes('late')).at(-1)?.actor).toMatchObject({ assurance: 'verified', via: 'session' });
    });

    test('--remove --apply leaves no trace, also while capture runs', async () => {
      const { database, url, config } = await shop();
      await using _ = database;
      await changetrail('setup', '--session-context', '--apply', '--config', config);
      await using capture = await startCapture({ url, configuration: { actors } });
      await using client = await connect(url);
      await client.pg.query('insert into t values (1)');
      const printed = await changetrail('setup', '--session-context', '--remove', '--config', config);
      expect(printed.stdout).toContain('drop trigger if exists');
      expect(await attached(database, 't')).toBe(true);
      await changetrail('setup', '--session-context', '--remove', '--apply', '--config', config);
      await client.pg.query('insert into t values (2)');
      const traces = await database.query(`
        select 1 from pg_namespace where nspname = 'changetrail'
        union all select 1 from pg_trigger where tgname like 'changetrail%'
        union all select 1 from pg_event_trigger where evtname like 'changetrail%'`);
      expect(traces.rows).toEqual([]);
      expect((await capture.changes('t')).map((one) => one.actor!.assurance)).toEqual(['verified', 'none']);
      expect(capture.failure).toBeUndefined();
    });

    test('--apply without --session-context is a wrong usage', async () => {
      const { database, config } = await shop();
      await using _ = database;
      await expect(changetrail('setup', '--apply', '--config', config)).rejects.toMatchObject({ code: 2 });
    });

    test('status --actors names the tables and applications that write without an actor', async () => {
      const { database, url, config } = await shop();
      await using _ = database;
      await changetrail('setup', '--session-context', '--apply', '--config', config);
      await using capture = await startCapture({
        url,
        data: join(directory.path, database.name),
        configuration: { actors },
      });
      await using client = await connect(url);
      await client.pg.query('insert into t values (1), (2), (3)');
      await client.pg.query(
        `begin; select pg_logical_emit_message(true, 'changetrail', '{"id":"alice"}'); insert into t values (4); commit`,
      );
      await client.pg.query(
        `begin; select pg_logical_emit_message(true, 'changetrail', 'broken'); insert into t values (5); commit`,
      );
      await capture.caughtUp();
      await capture.stop();
      const status = await changetrail('status', '--actors', '--config', config);
      expect(status.stdout).toMatch(/public\.t +4 of 5/);
      expect(status.stdout).toMatch(/legacy-api +4 of 5/);
      expect(status.stdout).toContain('message_invalid  1');
      const json = JSON.parse((await changetrail('status', '--json', '--config', config)).stdout);
      expect(json.actors.shop.tables['public.t']).toMatchObject({ verified: 4, claimed: 1, role_only: 4 });
    });
  });
}

async function attached(database: { query(sql: string, params: unknown[]): Promise<pg.QueryResult> }, table: string) {
  const sql = "select 1 from pg_trigger where tgrelid = $1::regclass and tgname = 'changetrail_session_context'";
  return (await database.query(sql, [table])).rows.length === 1;
}

async function connect(url: string) {
  const client = new pg.Client({ connectionString: url, application_name: 'legacy-api' });
  await client.connect();
  return { pg: client, [Symbol.asyncDispose]: () => client.end() };
}
