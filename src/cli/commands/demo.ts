import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import pg from 'pg';
import { checkConfiguration } from '../../config/load.ts';
import { parseDuration } from '../../config/options.ts';
import { runShop } from '../../demo/shop-app.ts';
import { SHOP_SCHEMA } from '../../demo/shop-schema.ts';
import { createTerminalSink } from '../../demo/terminal-sink.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { runTrail, type TrailSummary } from '../../pipeline/run.ts';
import { createLogger } from '../../telemetry/log.ts';
import { paletteFor } from '../pretty.ts';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../registry.ts';
import { durationArgument, stopSignal } from '../signals.ts';

interface DemoOptions {
  readonly for?: string;
  readonly keep?: string;
}

/** `changetrail demo`: a real database, a believable application and the real product, with nothing to set up. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('see it work: starts a database, runs a small shop against it and shows its audit trail')
    .option('--for <duration>', 'stop after this time, for example 20s; default: until Ctrl-C', durationArgument)
    .option('--keep <dir>', 'keep the ledger in this directory')
    .addHelpText(
      'after',
      '\nExamples:\n  changetrail demo --for 20s\n  changetrail demo | jq -c "{actor, action, object}"',
    )
    .action(demo);
}

async function demo(options: DemoOptions): Promise<void> {
  const data = options.keep ?? mkdtempSync(join(tmpdir(), 'changetrail-demo-'));
  say('starting PostgreSQL …');
  const database = await startDatabase();
  // The time counts from here: a first start also fetches the database's programs.
  const stop = stopSignal(
    createLogger({ level: 'warn' }),
    options.for === undefined ? undefined : parseDuration(options.for),
  );
  try {
    say('a small shop is open; its audit trail follows. Ctrl-C ends it.\n');
    const shopEnd = new AbortController();
    const shop = runShop(database.url, AbortSignal.any([stop.drain, shopEnd.signal]));
    // The shop closes first, so that the trail ends behind its last change.
    const drained = new AbortController();
    shop.catch(() => undefined).finally(() => setTimeout(() => drained.abort(), CLOSING_MS));
    const summary = await capture(database.url, data, drained.signal, stop.abort).finally(() => shopEnd.abort());
    await shop;
    sayClosing(summary, options.keep);
  } finally {
    stop.dispose();
    await database.stop();
    if (options.keep === undefined) rmSync(data, { recursive: true, force: true });
  }
}

/** Between the shop's last commit and the end of the capture. */
const CLOSING_MS = 500;

async function capture(url: string, data: string, drain: AbortSignal, abort: AbortSignal): Promise<TrailSummary> {
  const terminal = process.stdout.isTTY === true;
  const raw = {
    data,
    sources: { shop: { type: 'postgres', url, tables: ['public.*'], setup: 'auto', check_interval: 1 } },
    sinks: { out: { type: 'stdout' } },
  };
  const configuration = await checkConfiguration(raw, process.cwd(), CATALOGS);
  const sinks = terminal
    ? { stdout: { create: async () => createTerminalSink(process.stdout, paletteFor(process.stdout)) } }
    : SINKS;
  // Warnings about the demo's own table without a key belong to the show on a terminal, not into a program's log.
  return runTrail({
    configuration,
    sources: SOURCES,
    sinks,
    registry: REGISTRY_URL,
    log: createLogger({ level: terminal ? 'warn' : 'error' }),
    drain,
    abort,
  });
}

interface DemoDatabase {
  readonly url: string;
  stop(): Promise<void>;
}

/** What is used of `test/support/provide.ts`; named here, because the package is built without the tests. */
interface Provider {
  providePostgres(options: {
    major: number;
    fresh: boolean;
  }): Promise<AsyncDisposable & { createDatabase(name: string): Promise<{ readonly url: string }> }>;
}

/** In a checkout the tests' own provider chain brings a PostgreSQL; the package alone cannot. */
async function startDatabase(): Promise<DemoDatabase> {
  const provider = new URL('../../../test/support/provide.ts', import.meta.url).href;
  let provide: Provider;
  try {
    provide = (await import(provider)) as Provider;
  } catch (cause) {
    throw new AuditError('AUD_CLI_USAGE', {
      message: 'The demo brings its own database only in a checkout of the project.',
      action: 'Clone the repository and run npm run demo there, or use docker/compose.yaml.',
      cause,
    });
  }
  const server = await provide.providePostgres({ major: 18, fresh: true });
  const { url } = await server.createDatabase('shop');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(SHOP_SCHEMA);
  await client.end();
  return { url, stop: async () => server[Symbol.asyncDispose]() };
}

function say(text: string): void {
  process.stderr.write(`changetrail: ${text}\n`);
}

function sayClosing(summary: TrailSummary, kept: string | undefined): void {
  const p = paletteFor(process.stderr);
  say(`captured ${p.bold(String(summary.changes))} changes in ${summary.records} records, none lost, none twice.`);
  if (kept !== undefined) say(`the ledger is in ${kept}; changetrail tail --data ${kept} shows it again.`);
  say('attach to your own database: README.md, “Attach to your database”.');
}
