// The connection settings as `pg` takes them, by the real command line: url, PG… variables, password files, sockets, TLS. Control
// connection and stream take the same, so both are looked at.
import { chmodSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runCommandLine, TrailProcess, writeConfig } from '../e2e/support/trail-process.ts';
import { untilConfirmed } from '../e2e/support/truth.ts';
import { selfSignedCertificate } from '../support/certificate.ts';
import {
  type PostgresServer,
  postgresMajors,
  postgresMissing,
  providePostgres,
  type TestDatabase,
} from '../support/provide.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';

const PASSWORD = 'p@ss:w/örd#1';
const certificate = selfSignedCertificate();

interface Place {
  readonly server: PostgresServer;
  readonly database: string;
  readonly directory: TemporaryDirectory;
}

interface Case {
  readonly what: string;
  url(place: Place): string;
  env(place: Place): Record<string, string>;
  readonly tls: boolean;
  readonly application: string;
}

const secret = encodeURIComponent(PASSWORD);
const socketOf = ({ server }: Place) => join(server.dataDir!, '..', 's');
const base = ({ server, database }: Place) => `${server.host}:${server.port}/${database}`;

function passwordFile({ directory, database }: Place, name: string): string {
  const file = directory.join(name);
  writeFileSync(file, `other:*:*:*:wrong\n*:*:${database}:app:${PASSWORD.replace(':', '\\:')}\n`);
  chmodSync(file, 0o600);
  return file;
}

function authority({ directory }: Place): string {
  const file = directory.join('ca.pem');
  writeFileSync(file, certificate.cert);
  return file;
}

const CASES: readonly Case[] = [
  {
    what: 'everything from the environment',
    url: () => 'postgres://',
    env: ({ server, database }) => ({
      PGHOST: server.host,
      PGPORT: String(server.port),
      PGUSER: 'app',
      PGPASSWORD: PASSWORD,
      PGDATABASE: database,
      PGSSLMODE: 'no-verify',
      PGAPPNAME: 'audit of the shop',
      PGOPTIONS: '-c lock_timeout=9s',
    }),
    tls: true,
    application: 'audit of the shop',
  },
  {
    what: 'a password file that the environment names',
    url: (place) => `postgres://app@${base(place)}`,
    env: (place) => ({ PGPASSFILE: passwordFile(place, 'passwords') }),
    tls: false,
    application: 'changetrail shop',
  },
  {
    what: 'the password file at home, over a socket in a parameter',
    url: (place) => `postgres://app@/${place.database}?host=${socketOf(place)}&port=${place.server.port}`,
    env: (place) => ({ HOME: dirname(passwordFile(place, '.pgpass')) }),
    tls: false,
    application: 'changetrail shop',
  },
  {
    what: 'a socket as host, with the port from the environment',
    url: (place) => `postgres://app:${secret}@${encodeURIComponent(socketOf(place))}/${place.database}`,
    env: ({ server }) => ({ PGPORT: String(server.port) }),
    tls: false,
    application: 'changetrail shop',
  },
  {
    what: 'verify-full with the authority of the certificate',
    url: (place) =>
      `postgresql://app:${secret}@${base(place)}?sslmode=verify-full&sslrootcert=${authority(place)}&application_name=mine`,
    env: () => ({}),
    tls: true,
    application: 'mine',
  },
  {
    what: 'require with the authority of the certificate',
    url: (place) => `postgres://app:${secret}@${base(place)}?sslmode=require&sslrootcert=${authority(place)}`,
    env: () => ({}),
    tls: true,
    application: 'changetrail shop',
  },
  {
    what: 'require as libpq means it',
    url: (place) => `postgres://app:${secret}@${base(place)}?uselibpqcompat=true&sslmode=require`,
    env: () => ({}),
    tls: true,
    application: 'changetrail shop',
  },
];

interface Refusal {
  readonly what: string;
  url(place: Place): string;
  env?(place: Place): Record<string, string>;
  readonly code: string;
  readonly says: RegExp;
  readonly action: RegExp;
}

const WAITS: readonly Refusal[] = [
  {
    what: 'no password where the server asks for one',
    url: (place) => `postgres://app@${base(place)}`,
    code: 'AUD_PG_AUTH',
    says: /password/,
    action: /PGPASSWORD.*\.pgpass/,
  },
  {
    what: 'a password file that others may read',
    url: (place) => `postgres://app@${base(place)}`,
    env: (place) => {
      const file = passwordFile(place, 'open');
      chmodSync(file, 0o644);
      return { PGPASSFILE: file };
    },
    code: 'AUD_PG_AUTH',
    says: /open may be read by others/,
    action: /chmod 600/,
  },
  {
    what: 'a certificate that nobody vouches for',
    url: (place) => `postgres://app:${secret}@${base(place)}?sslmode=require`,
    code: 'AUD_PG_CONNECT',
    says: /self-signed certificate/,
    action: /sslrootcert=FILE.*no-verify/,
  },
];

const ENDS: readonly Refusal[] = [
  {
    what: 'an authority that is not there',
    url: (place) => `postgres://app:${secret}@${base(place)}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem`,
    code: 'AUD_PG_URL',
    says: /source shop names a certificate or key that cannot be read \(ENOENT\): \/nowhere\/ca\.pem/,
    action: /sslrootcert/,
  },
  {
    what: 'a connection string of keys and values',
    url: ({ server, database }) => `host=${server.host} dbname=${database} password=${PASSWORD}`,
    code: 'AUD_PG_URL',
    says: /source shop is not a connection URL/,
    action: /postgres:\/\/user:password@host/,
  },
];

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`connection settings on PostgreSQL ${major}`, () => {
    async function withPlace(work: (place: Place, database: TestDatabase) => Promise<void>): Promise<void> {
      const server = await providePostgres({ major, auth: 'scram', tls: certificate });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query(`create table t (id int primary key);
        do $$ begin create role app login superuser replication password '${PASSWORD}'; exception when duplicate_object then null; end $$`);
      await work({ server, database: database.name, directory }, database);
    }

    const slot = (database: TestDatabase) => `s_${database.name}`;

    test.each(CASES)('$what', ({ url, env, tls, application }) =>
      withPlace(async (place, database) => {
        const source = { slot: slot(database) };
        const config = writeConfig(place.directory.path, { url: url(place), source });
        await using trail = TrailProcess.launch(['run', '--config', config], { env: env(place) });
        await trail.streaming();
        const sql = `select application_name as name, coalesce(ssl, false) as tls, backend_type
           from pg_stat_activity left join pg_stat_ssl using (pid) where datname = $1 and usename = 'app'`;
        const rows = await until(
          async () => {
            const { rows: found } = await database.query(sql, [database.name]);
            return found.some((row) => row.backend_type === 'walsender') && found.length === 2 ? found : null;
          },
          { what: 'control connection and stream' },
        );
        for (const row of rows) expect(row).toMatchObject({ name: application, tls });
        await database.query('insert into t values (1)');
        await untilConfirmed(database, slot(database), trail);
        expect(await trail.stop(), trail.stderr).toMatchObject({ code: 0 });
        expect(trail.stderr).not.toMatch(/Warning/);
        expect(trail.stderr).not.toContain(PASSWORD);
      }),
    );

    test.each(WAITS)('$what: said, and waited for', ({ url, env, code, says, action }) =>
      withPlace(async (place, database) => {
        const config = writeConfig(place.directory.path, { url: url(place), source: { slot: slot(database) } });
        await using trail = TrailProcess.launch(['run', '--config', config], { env: env?.(place) ?? {} });
        const said = await trail.logged('the refusal', (entry) => entry.event === 'source_waiting');
        expect(said).toMatchObject({ code, msg: expect.stringMatching(says), action: expect.stringMatching(action) });
        expect(trail.stderr).not.toContain(PASSWORD);
      }),
    );

    test.each(ENDS)('$what: said, exit 2', ({ url, code, says, action }) =>
      withPlace(async (place) => {
        const config = writeConfig(place.directory.path, { url: url(place) });
        const run = await runCommandLine(['run', '--config', config]);
        expect(run.exit, run.stderr).toEqual({ code: 2, signal: null });
        expect(run.stderr).toMatch(says);
        expect(run.stderr).toMatch(action);
        expect(run.stderr).toContain(code);
        expect(run.stderr).not.toContain(PASSWORD);
      }),
    );
  });
}
