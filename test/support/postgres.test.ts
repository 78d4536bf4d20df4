import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import process from 'node:process';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { selfSignedCertificate } from './certificate.ts';
import { postgresMajors, postgresMissing, providePostgres } from './provide.ts';
import { temporaryDirectory } from './tmp.ts';
import { until } from './wait.ts';

const canConnect = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`PostgreSQL ${major}`, () => {
    test('is of the major asked for, ready for logical replication, in UTC', async () => {
      const server = await providePostgres({ major });
      expect(server.version).toMatch(new RegExp(`^${major}\\.`));
      const { rows } =
        await server.query(`select current_setting('wal_level') as wal, current_setting('TimeZone') as zone,
        current_setting('max_prepared_transactions')::int as prepared`);
      expect(rows).toEqual([{ wal: 'logical', zone: 'UTC', prepared: 20 }]);
    });

    test('is one server for equal options, which nobody may stop', async () => {
      const server = await providePostgres({ major });
      expect(await providePostgres({ major })).toBe(server);
      await expect(server.stop('fast')).rejects.toThrow('{ fresh: true }');
    });

    test('drops a database whatever still holds it: slots, prepared transactions, connections', async () => {
      const server = await providePostgres({ major });
      const database = await server.createDatabase();
      const slot = `held_${database.name}`;
      await database.query('create table a (id int primary key); create publication p for table a');
      await database.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
      await database.query("begin; insert into a values (1); prepare transaction 'held'");
      const reader = new pg.Client({ connectionString: database.url, replication: 'database' } as pg.ClientConfig);
      reader.on('error', () => {});
      await reader.connect();
      const options = "proto_version '1', publication_names 'p'";
      const ended = reader
        .query(`START_REPLICATION SLOT ${slot} LOGICAL 0/0 (${options})`)
        .catch((error: Error) => error);
      const active = 'select active from pg_replication_slots where slot_name = $1';
      await until(async () => (await server.query(active, [slot])).rows[0]?.active, { what: 'the slot to be in use' });
      await database.drop();
      expect(await ended).toBeInstanceOf(Error);
      const left = `select (select count(*) from pg_database where datname = $1) + (select count(*) from pg_replication_slots where database = $1)
                    + (select count(*) from pg_prepared_xacts where database = $1) as left`;
      expect((await server.query(left, [database.name])).rows).toEqual([{ left: '0' }]);
    });

    test('a fresh server comes back after SIGKILL on the same port with what was committed', async () => {
      await using server = await providePostgres({ major, fresh: true });
      await using database = await server.createDatabase();
      await database.query('create table a (id int); insert into a select generate_series(1, 100)');
      await server.kill9();
      expect(await canConnect(server.port)).toBe(false);
      await server.start();
      expect((await database.query('select count(*)::int as n from a')).rows).toEqual([{ n: 100 }]);
    });

    test.each(['fast', 'immediate'] as const)('a fresh server restarts after a %s stop', async (mode) => {
      await using server = await providePostgres({ major, fresh: true });
      await using database = await server.createDatabase();
      await database.query('create table a (id int); insert into a values (1)');
      await server.stop(mode);
      expect(await canConnect(server.port)).toBe(false);
      await server.start();
      expect((await database.query('select id from a')).rows).toEqual([{ id: 1 }]);
    });

    test('leaves nothing behind when it is disposed, running or not', async () => {
      const server = await providePostgres({ major, fresh: true });
      const directory = server.dataDir;
      await server.kill9();
      await server[Symbol.asyncDispose]();
      expect(directory === undefined || !existsSync(directory)).toBe(true);
      expect(await canConnect(server.port)).toBe(false);
    });

    test('takes settings, and ALTER SYSTEM goes over them', async () => {
      await using server = await providePostgres({
        major,
        fresh: true,
        settings: { work_mem: '7MB', max_wal_senders: '3' },
      });
      const show = async () =>
        (
          await server.query(
            "select current_setting('work_mem') as work_mem, current_setting('max_wal_senders') as senders",
          )
        ).rows[0];
      expect(await show()).toEqual({ work_mem: '7MB', senders: '3' });
      await server.query("alter system set work_mem = '9MB'");
      await server.restart();
      expect(await show()).toEqual({ work_mem: '9MB', senders: '3' });
    });

    test('says what the server said when it does not start', async () => {
      const started = providePostgres({ major, fresh: true, settings: { shared_buffers: 'plenty' } });
      await expect(started).rejects.toThrow(/ended at start.*shared_buffers/);
    });

    test('asks for the password with SCRAM, also for replication', async () => {
      const server = await providePostgres({ major, auth: 'scram' });
      const url = new URL(server.url());
      const login = async (password: string, replication?: string) => {
        const client = new pg.Client({
          host: server.host,
          port: server.port,
          user: server.user,
          password,
          database: 'postgres',
        });
        if (replication) Object.assign(client, { replication });
        try {
          await client.connect();
        } finally {
          await client.end().catch(() => {});
        }
      };
      await login(url.password);
      await expect(login('wrong')).rejects.toMatchObject({ code: '28P01' });
      await login(url.password, 'database');
      await expect(login('wrong', 'database')).rejects.toMatchObject({ code: '28P01' });
    });

    test('offers TLS with the given certificate', async () => {
      const tls = selfSignedCertificate();
      const server = await providePostgres({ major, tls });
      const client = new pg.Client({ connectionString: server.url(), ssl: { ca: tls.cert, servername: 'localhost' } });
      await client.connect();
      const { rows } = await client.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()');
      await client.end();
      expect(rows).toEqual([{ ssl: true }]);
    });
  });
}

test('a killed process leaves no server and no files', async () => {
  const [major] = postgresMajors();
  const provide = new URL('./provide.ts', import.meta.url).href;
  await using directory = await temporaryDirectory();
  const script = `import { providePostgres } from '${provide}';
    const server = await providePostgres({ major: ${major}, fresh: true });
    console.log(JSON.stringify({ port: server.port, dataDir: server.dataDir }));
    process.kill(process.pid, 'SIGKILL');`;
  const said = await new Promise<string>((resolve) => {
    const args = ['--input-type=module-typescript', '-e', script];
    execFile(process.execPath, args, { cwd: directory.path }, (_error, stdout) => resolve(stdout));
  });
  const { port, dataDir } = JSON.parse(said) as { port: number; dataDir: string };
  await until(async () => !existsSync(dataDir) && !(await canConnect(port)), { what: 'the server to be gone' });
});
