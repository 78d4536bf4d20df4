import { afterEach, describe, expect, test, vi } from 'vitest';
import { postgresMajors, postgresMissing, providePostgres } from './provide.ts';

afterEach(() => vi.unstubAllEnvs());

const major = postgresMajors()[0] as 14;
const other = major === 14 ? 18 : 14;

describe.skipIf(await postgresMissing(major))('a PostgreSQL named in the environment', () => {
  test('is used, is shared, and may not be stopped', async () => {
    const server = await providePostgres({ major });
    vi.stubEnv(`CHANGETRAIL_TEST_PG_${major}`, server.url());
    const named = await providePostgres({ major, auth: 'trust' });
    expect([named.provider, named.port, named.version]).toEqual(['env', server.port, server.version]);
    await expect(named.kill9()).rejects.toThrow('named in the environment');
    await using database = await named.createDatabase();
    expect((await database.query('select current_database() as name')).rows).toEqual([{ name: database.name }]);
  });

  test('is refused when it is of another major, and nothing else is tried', async () => {
    const server = await providePostgres({ major });
    vi.stubEnv(`CHANGETRAIL_TEST_PG_${other}`, server.url());
    const refused = await providePostgres({ major: other }).catch((error) => error);
    expect(refused.tried).toEqual([
      { way: `CHANGETRAIL_TEST_PG_${other}`, why: `it is PostgreSQL ${server.version}, not ${other}` },
    ]);
  });

  test('is refused when nobody listens there', async () => {
    vi.stubEnv(`CHANGETRAIL_TEST_PG_${other}`, 'postgres://postgres@127.0.0.1:1/postgres');
    await expect(providePostgres({ major: other })).rejects.toThrow('ECONNREFUSED');
  });

  test('is passed over when a server of its own is needed', async () => {
    vi.stubEnv(`CHANGETRAIL_TEST_PG_${major}`, 'postgres://postgres@127.0.0.1:1/postgres');
    await using server = await providePostgres({ major, fresh: true });
    expect(server.provider).not.toBe('env');
  });
});
