// What `changetrail demo` does. Loaded only then: it brings both drivers and the shop.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { paletteFor } from '../cli/pretty.ts';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../cli/registry.ts';
import { stopSignal } from '../cli/signals.ts';
import { checkConfiguration } from '../config/load.ts';
import { parseDuration } from '../config/options.ts';
import { AuditError } from '../errors/audit-error.ts';
import { runTrail, type TrailSummary } from '../pipeline/run.ts';
import { createLogger } from '../telemetry/log.ts';
import { runShop } from './shop-app.ts';
import { prepareReviews, REVIEWS_DATABASE, REVIEWS_USER, runReviews } from './shop-reviews.ts';
import { SHOP_SCHEMA } from './shop-schema.ts';
import { createTerminalSink } from './terminal-sink.ts';

export interface DemoOptions {
  /** A duration such as `20s`; absent: until Ctrl-C. */
  readonly for?: string;
  /** Directory in which the ledger is kept; absent: it is thrown away. */
  readonly keep?: string;
}

/** Starts the databases, opens the shop, captures both and shows the records. */
export async function demo(options: DemoOptions): Promise<void> {
  const data = options.keep ?? mkdtempSync(join(tmpdir(), 'changetrail-demo-'));
  say('starting PostgreSQL and MongoDB …');
  const databases = await startDatabases();
  // The time counts from here: a first start also fetches the databases' programs.
  const stop = stopSignal(
    createLogger({ level: 'warn' }),
    options.for === undefined ? undefined : parseDuration(options.for),
  );
  try {
    say('a small shop is open; its audit trail follows. Ctrl-C ends it.\n');
    const captureEnded = new AbortController();
    const open = AbortSignal.any([stop.drain, captureEnded.signal]);
    const shop = Promise.all([runShop(databases.shop, open), runReviews(databases.reviews, open)]);
    // The shop closes first, so that the trail ends behind its last change.
    const drain = new AbortController();
    shop.catch(() => undefined).finally(() => setTimeout(() => drain.abort(), CLOSING_MS));
    const summary = await capture(databases, data, drain.signal, stop.abort).finally(() => captureEnded.abort());
    await shop;
    sayClosing(summary, options.keep);
  } finally {
    stop.dispose();
    await databases.stop();
    if (options.keep === undefined) rmSync(data, { recursive: true, force: true });
  }
}

/** Between the shop's last commit and the end of the capture. */
const CLOSING_MS = 700;

async function capture(
  databases: DemoDatabases,
  data: string,
  drain: AbortSignal,
  abort: AbortSignal,
): Promise<TrailSummary> {
  const terminal = process.stdout.isTTY === true;
  const raw = {
    data,
    sources: {
      shop: { type: 'postgres', url: databases.shop, tables: ['public.*'], setup: 'auto', check_interval: 1 },
      docs: {
        type: 'mongodb',
        url: databases.admin,
        collections: [`${REVIEWS_DATABASE}.*`],
        setup: 'auto',
        users_interval: 5,
      },
    },
    sinks: { out: { type: 'stdout' } },
    actors: { roles: [{ match: `${REVIEWS_USER.name}@*`, is: 'application' }] },
  };
  const configuration = await checkConfiguration(raw, process.cwd(), CATALOGS);
  const sinks = terminal
    ? { stdout: { create: async () => createTerminalSink(process.stdout, paletteFor(process.stdout)) } }
    : SINKS;
  // The table without a key is part of the show, and its record says so.
  const log = createLogger({ level: 'error' });
  return runTrail({ configuration, sources: SOURCES, sinks, registry: REGISTRY_URL, log, drain, abort });
}

interface DemoDatabases {
  /** The shop's PostgreSQL. */
  readonly shop: string;
  /** MongoDB, as an administrator and as the reviews service. */
  readonly admin: string;
  readonly reviews: string;
  stop(): Promise<void>;
}

/** What is used of `test/support/provide.ts`; named here, because the package is built without the tests. */
interface Provider {
  providePostgres(options: {
    major: number;
    fresh: boolean;
  }): Promise<AsyncDisposable & { createDatabase(name: string): Promise<{ readonly url: string }> }>;
  provideMongo(options: {
    replicaSet: boolean;
    auth: boolean;
    fresh: boolean;
  }): Promise<AsyncDisposable & { readonly url: string }>;
}

/** In a checkout the tests' own provider chain brings the databases; the package alone cannot. */
async function startDatabases(): Promise<DemoDatabases> {
  const provider = await loadProvider();
  const [postgres, mongo] = await Promise.all([
    provider.providePostgres({ major: 18, fresh: true }),
    provider.provideMongo({ replicaSet: true, auth: true, fresh: true }),
  ]);
  const { url: shop } = await postgres.createDatabase('shop');
  const client = new pg.Client({ connectionString: shop });
  await client.connect();
  await client.query(SHOP_SCHEMA);
  await client.end();
  await prepareReviews(mongo.url);
  const reviews = new URL(mongo.url);
  reviews.username = REVIEWS_USER.name;
  reviews.password = REVIEWS_USER.password;
  return {
    shop,
    admin: mongo.url,
    reviews: reviews.href,
    async stop() {
      await Promise.all([postgres[Symbol.asyncDispose](), mongo[Symbol.asyncDispose]()]);
    },
  };
}

async function loadProvider(): Promise<Provider> {
  try {
    return (await import(new URL('../../test/support/provide.ts', import.meta.url).href)) as Provider;
  } catch (cause) {
    throw new AuditError('AUD_CLI_USAGE', {
      message: 'The demo brings its own databases only in a checkout of the project.',
      action: 'Clone the repository and run npm run demo there, or use docker/compose.yaml.',
      cause,
    });
  }
}

function say(text: string): void {
  process.stderr.write(`changetrail: ${text}\n`);
}

function sayClosing(summary: TrailSummary, kept: string | undefined): void {
  const p = paletteFor(process.stderr);
  say(`captured ${p.bold(String(summary.changes))} changes in ${summary.records} records.`);
  if (kept !== undefined) say(`the ledger is in ${kept}; changetrail tail --data ${kept} shows it again.`);
  say('attach to your own database: README.md, “Attach to your database”.');
}
