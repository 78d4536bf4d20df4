import process from 'node:process';
import { type DatabaseUnavailableError, firstThatWorks, maySkip, NotHere, noteSkipped, type Way } from './chain.ts';
import type { PostgresMajor } from './npm-binaries.ts';
import { binaryWays } from './postgres-binaries.ts';
import { containerPostgres } from './postgres-container.ts';
import { LocalPostgres } from './postgres-local.ts';
import { PostgresServer } from './postgres-server.ts';

export { DatabaseUnavailableError, skippedProviders } from './chain.ts';
export type { PostgresMajor } from './npm-binaries.ts';
export type { PostgresServer, StopMode, TestDatabase } from './postgres-server.ts';

export interface PostgresOptions {
  readonly major: PostgresMajor;
  /** Server settings, over those of `TEST_SETTINGS`. They stand in postgresql.conf: ALTER SYSTEM goes over them. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A server of one's own, that may be stopped and killed. By default the servers of equal options in a process are one. */
  readonly fresh?: boolean;
  readonly auth?: 'trust' | 'scram';
  /** PEM texts of a certificate and its key: the server offers TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

const MAJORS: readonly PostgresMajor[] = [14, 15, 16, 17, 18];
const INSTALL =
  'Set CHANGETRAIL_SKIP_MISSING_DATABASES=1 to skip what needs it (it is counted), or make one of these work.';

/**
 * The PostgreSQL majors to test: the oldest and the newest supported one; every one with `CHANGETRAIL_TEST_PG_MAJORS=all`, or the ones
 * listed there (`14,16`).
 */
export function postgresMajors(): readonly PostgresMajor[] {
  const wanted = process.env['CHANGETRAIL_TEST_PG_MAJORS']?.trim();
  if (!wanted) return [14, 18];
  if (wanted === 'all') return MAJORS;
  return wanted.split(',').map((text) => {
    const major = MAJORS.find((known) => String(known) === text.trim());
    if (!major) throw new Error(`CHANGETRAIL_TEST_PG_MAJORS: "${text.trim()}" is none of ${MAJORS.join(', ')} or all`);
    return major;
  });
}

const sharedServers = new Map<string, Promise<PostgresServer>>();

/**
 * A running PostgreSQL of that major: the one named in `CHANGETRAIL_TEST_PG_<major>` (a superuser's URL), else one started here from a
 * local installation, from npm, or in a container.
 * @throws DatabaseUnavailableError with everything that was tried and why it failed.
 */
export function providePostgres(options: PostgresOptions): Promise<PostgresServer> {
  if (options.fresh) return openPostgres(options);
  const key = JSON.stringify([options.major, options.auth, options.tls, Object.entries(options.settings ?? {}).sort()]);
  const known = sharedServers.get(key);
  if (known) return known;
  const opened = openPostgres(options);
  sharedServers.set(key, opened);
  // A failure is told to whoever waits now; the next one tries again.
  opened.catch(() => sharedServers.delete(key));
  return opened;
}

function openPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { major } = options;
  const local = { auth: options.auth ?? 'trust', settings: options.settings ?? {}, tls: options.tls };
  const shared = !options.fresh;
  const ways: Way<PostgresServer>[] = [
    { name: `CHANGETRAIL_TEST_PG_${major}`, decisive: true, open: () => postgresOfEnvironment(options) },
    ...binaryWays(major).map((way) => ({
      name: way.name,
      open: async () => {
        const binaries = await way.open();
        const launched = await LocalPostgres.launch(binaries, local);
        return PostgresServer.connect({ major, provider: binaries.provider, shared, ...launched });
      },
    })),
    {
      name: `the container image postgres:${major}`,
      open: async () => {
        const launched = await containerPostgres(major, local);
        return PostgresServer.connect({ major, provider: 'container', shared, ...launched });
      },
    },
  ];
  return firstThatWorks(`PostgreSQL ${major}`, ways, INSTALL);
}

async function postgresOfEnvironment(options: PostgresOptions): Promise<PostgresServer> {
  const adminUrl = process.env[`CHANGETRAIL_TEST_PG_${options.major}`];
  if (!adminUrl) throw new NotHere('not set');
  const { fresh, auth, tls, settings } = options;
  if (fresh || auth === 'scram' || tls || settings)
    throw new NotHere('a server of its own or with its own settings is needed');
  return PostgresServer.connect({ major: options.major, provider: 'env', adminUrl, shared: true });
}

/**
 * For `describe.skipIf`: whether to skip what needs PostgreSQL of that major. Only ever true with `CHANGETRAIL_SKIP_MISSING_DATABASES=1`
 * and after every way was tried; it is counted then. Without the flag a missing database fails the test that needs it.
 */
export async function postgresMissing(major: PostgresMajor): Promise<boolean> {
  if (!maySkip()) return false;
  return missing(`PostgreSQL ${major}`, providePostgres({ major }));
}

async function missing(what: string, opened: Promise<unknown>): Promise<boolean> {
  try {
    await opened;
    return false;
  } catch (error) {
    if ((error as DatabaseUnavailableError).name !== 'DatabaseUnavailableError') throw error;
    noteSkipped(what);
    return true;
  }
}
