// What a person does wrong: one clear line with what to do, exit 2 (3 when it is the surroundings), no stack trace, no secret.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { describe, expect, test, vi } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { checkLedger, readLedger } from './support/ledger-view.ts';
import { runCommandLine, TrailProcess, writeConfig } from './support/trail-process.ts';
import { untilConfirmed } from './support/truth.ts';

const SECRET = 'hunter2-of-the-test';
const URL_WITH_SECRET = `postgres://app:${SECRET}@127.0.0.1:1/shop`;

/** What went wrong in one line (each fault of a configuration has its own), what to do, the code. */
function expectClear(run: Pick<TrailProcess, 'exit' | 'stderr' | 'stdout'>, exit: number, code: string): string {
  expect(run.exit, run.stderr).toEqual({ code: exit, signal: null });
  expect(run.stderr).not.toMatch(/^\s+at /m);
  expect(run.stderr + run.stdout).not.toContain(SECRET);
  const text = run.stderr.slice(run.stderr.indexOf('changetrail:'));
  expect(text).toMatch(/^changetrail: .+\n(.+\n)*? {2}→ /);
  expect(text).toContain(`(${code})`);
  return text;
}

function runFile(file: string): Promise<TrailProcess> {
  return runCommandLine(['run', '--config', file]);
}

/** The same command line in this process: most faults end it before anything is opened, and a process takes a second. */
async function runHere(file: string): Promise<Pick<TrailProcess, 'exit' | 'stderr' | 'stdout'>> {
  let stderr = '';
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += String(text);
    return true;
  });
  try {
    const code = await main([process.execPath, 'changetrail', 'run', '--config', file]);
    return { exit: { code, signal: null }, stderr, stdout: '' };
  } finally {
    write.mockRestore();
  }
}

function written(directory: TemporaryDirectory, text: string): string {
  const file = directory.join('changetrail.yaml');
  writeFileSync(file, text);
  return file;
}

const SOURCE = `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}" }\n`;

describe('a configuration that cannot be used', () => {
  const CASES: readonly [what: string, text: string, code: string, says: RegExp][] = [
    ['no YAML', `sources: {\n  shop: ]\n  url: ${URL_WITH_SECRET}\n`, 'AUD_CONFIG_FILE', /is not YAML.*line 2/],
    ['a text instead of keys', SECRET, 'AUD_CONFIG_FILE', /is not YAML with keys/],
    ['an empty file', '', 'AUD_CONFIG_FILE', /is not YAML with keys|empty/],
    [
      'a key that is there twice',
      `${SOURCE}  shop: { type: postgres, url: "${URL_WITH_SECRET}" }\n`,
      'AUD_CONFIG_FILE',
      /line 3: a key is there twice/,
    ],
    [
      'a tab before a key',
      `sources:\n\tshop: { type: postgres, url: "${URL_WITH_SECRET}" }\n`,
      'AUD_CONFIG_FILE',
      /line 2: a tab indents/,
    ],
    [
      'a list of sources',
      `sources: [{ type: postgres, url: "${URL_WITH_SECRET}" }]\n`,
      'AUD_CONFIG_INVALID',
      /sources must be names with settings/,
    ],
    [
      'one pattern instead of a list',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", tables: "public.*" }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.tables must be a list/,
    ],
    [
      'an empty list of patterns',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", tables: [] }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.tables must not be empty/,
    ],
    [
      'a choice that there is not',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", setup: automatic }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.setup must be one of auto, manual\./,
    ],
    [
      'an interval that is too long',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", check_interval: 60 }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.check_interval must be at most 10\. Seconds/,
    ],
    ['an empty path of the data directory', `data: ""\n${SOURCE}`, 'AUD_CONFIG_INVALID', /data must not be empty/],
    [
      'a slot name that PostgreSQL does not take',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", slot: My-Slot }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.slot: not of the allowed form\. .*a-z, 0-9 and _/,
    ],
    [
      'a reference without its end',
      'sources:\n  shop: { type: postgres, url: "${SHOP_DATABASE_URL" }\n',
      'AUD_CONFIG_SECRET',
      /sources\.shop\.url has a \$\{ without its \}/,
    ],
    ['no source', 'data: ./data\n', 'AUD_CONFIG_INVALID', /sources is missing/],
    ['a misspelt key at the top', `sorces: {}\n${SOURCE}`, 'AUD_CONFIG_INVALID', /sorces.*did you mean "sources"/],
    [
      'a misspelt key of a source',
      `sources:\n  shop: { type: postgres, url: "${URL_WITH_SECRET}", tabels: ["public.*"] }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.tabels.*did you mean "tables"/,
    ],
    [
      'a misspelt type',
      `sources:\n  shop: { type: postgress, url: "${URL_WITH_SECRET}" }\n`,
      'AUD_CONFIG_INVALID',
      /sources\.shop\.type.*did you mean "postgres"/,
    ],
    [
      'an unknown sink',
      `${SOURCE}sinks:\n  out: { type: stdot }\n`,
      'AUD_CONFIG_INVALID',
      /sinks\.out\.type.*did you mean "stdout"/,
    ],
    [
      'a value of the wrong form',
      `${SOURCE}ledger: { segment_size: 64 megabytes }\n`,
      'AUD_CONFIG_INVALID',
      /ledger\.segment_size.*64MiB/,
    ],
    [
      'an environment variable that is not set',
      'sources:\n  shop: { type: postgres, url: "${NOT_SET_ANYWHERE}" }\n',
      'AUD_CONFIG_SECRET',
      /sources\.shop\.url.*NOT_SET_ANYWHERE/,
    ],
    [
      'a secret file that is not there',
      'sources:\n  shop: { type: postgres, url: "${file:/nowhere/at/all}" }\n',
      'AUD_CONFIG_SECRET',
      /sources\.shop\.url.*\/nowhere\/at\/all/,
    ],
    [
      'a url without a database',
      `sources:\n  shop: { type: postgres, url: "postgres://app:${SECRET}@127.0.0.1" }\n`,
      'AUD_PG_URL',
      /source shop names no database/,
    ],
    [
      'a url that is none',
      `sources:\n  shop: { type: postgres, url: "postgres://app:${SECRET}@127.0.0.1:port/x" }\n`,
      'AUD_PG_URL',
      /source shop is not a connection URL/,
    ],
  ];

  test.each(CASES)('%s', async (_what, text, code, says) => {
    await using directory = await temporaryDirectory();
    expect(expectClear(await runHere(written(directory, text)), 2, code)).toMatch(says);
  });

  test('a directory, a file that is not there, and one that may not be read', async () => {
    await using directory = await temporaryDirectory();
    expect(expectClear(await runFile(directory.path), 2, 'AUD_CONFIG_FILE')).toMatch(/is a directory/);
    const missing = expectClear(await runFile(directory.join('nothing.yaml')), 2, 'AUD_CONFIG_FILE');
    expect(missing).toMatch(/There is no configuration file[\s\S]*changetrail init/);
  });

  test('a command and an option that do not exist', async () => {
    const command = await runCommandLine(['rnu']);
    expect(command.exit).toEqual({ code: 2, signal: null });
    expect(command.stderr).toMatch(/unknown command 'rnu'[\s\S]*run/);
    const option = await runCommandLine(['run', '--fro', '2s']);
    expect(option.exit).toEqual({ code: 2, signal: null });
    expect(option.stderr).toMatch(/unknown option '--fro'[\s\S]*--for/);
  });
});

describe('a data directory that cannot be used', async () => {
  const major = postgresMajors().at(-1)!;
  const skip = await postgresMissing(major);

  test('of a newer version: exit 2, untouched', async () => {
    await using directory = await temporaryDirectory();
    mkdirSync(directory.join('data'));
    writeFileSync(directory.join('data', 'format.json'), '{"format":99}\n');
    const run = await runFile(written(directory, `data: ./data\n${SOURCE}`));
    expect(expectClear(run, 2, 'AUD_LEDGER_VERSION')).toMatch(/format 99/);
    expect(readdirSync(directory.join('data'))).toEqual(['format.json']);
  });

  test.skipIf(skip)('in use: a second process is refused with the pid of the first, which goes on', async () => {
    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await using directory = await temporaryDirectory();
    await database.query('create table t (id int primary key)');
    const config = writeConfig(directory.path, { url: database.url });
    await using first = TrailProcess.launch(['run', '--config', config]);
    await first.streaming();
    const second = await runFile(config);
    expect(expectClear(second, 3, 'AUD_LEDGER_LOCKED')).toContain(`pid ${first.pid}`);
    await database.query('insert into t values (1)');
    await untilConfirmed(database, 'changetrail_shop', first);
    expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
  });

  test.skipIf(skip)('damaged in the middle: exit 3, the place is named, nothing is overwritten', async () => {
    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await using directory = await temporaryDirectory();
    await database.query('create table t (id int primary key)');
    const config = writeConfig(directory.path, { url: database.url });
    {
      await using first = TrailProcess.launch(['run', '--config', config]);
      await first.streaming();
      await database.query('insert into t select generate_series(1, 20)');
      await untilConfirmed(database, 'changetrail_shop', first);
      expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
    }
    const segments = directory.join('data', 'ledger', 'segments');
    const path = join(segments, readdirSync(segments).find((name) => name.endsWith('.ndjson'))!);
    const bytes = readFileSync(path);
    // A byte in the middle of record 10: the line is not JSON any more.
    const at = bytes.indexOf('"index":10,') + '"index":10'.length;
    bytes[at] = 0x21;
    writeFileSync(path, bytes);
    const run = await runFile(config);
    expect(expectClear(run, 3, 'AUD_LEDGER_CORRUPT')).toMatch(/0000000000000000\.ndjson.*index 10/);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test('read-only: exit 3', async () => {
    await using place = await readOnlyDirectory();
    await using directory = await temporaryDirectory();
    const run = await runFile(written(directory, `data: ${place.path}/data\n${SOURCE}`));
    expect(expectClear(run, 3, 'AUD_LEDGER_WRITE')).toContain(place.path);
  });

  test.skipIf(skip)(
    'that stops being writable while running: capture stops with the reason, and goes on later',
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query('create table t (id int primary key)');
      const config = writeConfig(directory.path, { url: database.url });
      const positions = directory.join('data', 'positions');
      {
        await using trail = TrailProcess.launch(['run', '--config', config]);
        await trail.streaming();
        await until(() => readdirSync(positions).length > 0, { what: 'the position to be saved' });
        const allow = forbid(positions);
        try {
          await database.query('create schema hidden; create table hidden.h (n int); insert into hidden.h values (1)');
          await trail.ended();
        } finally {
          allow();
        }
        expectClear(trail, 3, 'AUD_LEDGER_WRITE');
      }
      await database.query('insert into t values (1)');
      await using again = TrailProcess.launch(['run', '--config', config]);
      await untilConfirmed(database, 'changetrail_shop', again);
      expect(await again.stop(), again.stderr).toMatchObject({ code: 0 });
      const records = readLedger(directory.join('data'));
      checkLedger(records);
      expect(records.filter((record) => record.kind === 'change').length).toBe(1);
      expect(records.filter((record) => record.kind === 'gap')).toEqual([]);
    },
  );
});

describe('a database that does not fit the configuration', async () => {
  const major = postgresMajors().at(-1)!;
  const skip = await postgresMissing(major);

  test.skipIf(skip)('a pattern that matches nothing is warned of, with what is captured', async () => {
    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await using directory = await temporaryDirectory();
    await database.query('create table users (id int primary key)');
    const config = writeConfig(directory.path, {
      url: database.url,
      source: { tables: ['public.*', 'sales.*', '!public.sesions'] },
    });
    await using run = TrailProcess.launch(['run', '--config', config]);
    await run.streaming();
    expect(await run.stop(), run.stderr).toEqual({ code: 0, signal: null });
    const warned = run.log.filter((entry) => entry.event === 'pattern_unused');
    expect(warned.map((entry) => entry['pattern'])).toEqual(['sales.*', '!public.sesions']);
    expect(warned[0]!['action']).toContain('public.users');
  });

  test.skipIf(skip)('a database that does not exist ends the run', async () => {
    const server = await providePostgres({ major });
    await using directory = await temporaryDirectory();
    const url = new URL(server.url('no_such_database'));
    url.password = SECRET;
    const config = writeConfig(directory.path, { url: url.href });
    expect(expectClear(await runFile(config), 2, 'AUD_PG_URL')).toContain('no_such_database');
  });
});

interface Place extends AsyncDisposable {
  readonly path: string;
}

/** Root may write everywhere but on a file system that is mounted read-only. */
async function readOnlyDirectory(): Promise<Place> {
  const directory = await temporaryDirectory();
  if (process.getuid?.() !== 0) {
    chmodSync(directory.path, 0o555);
    return {
      path: directory.path,
      async [Symbol.asyncDispose]() {
        chmodSync(directory.path, 0o755);
        await directory[Symbol.asyncDispose]();
      },
    };
  }
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=64k', 'changetrail-test', directory.path]);
  return {
    path: directory.path,
    async [Symbol.asyncDispose]() {
      execFileSync('umount', ['-l', directory.path]);
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Takes the right to write a directory away; gives the way to give it back. Root is kept out by a read-only mount over it. */
function forbid(path: string): () => void {
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0o555);
    return () => chmodSync(path, 0o755);
  }
  execFileSync('mount', ['--bind', path, path]);
  execFileSync('mount', ['-o', 'remount,ro,bind', path]);
  return () => void execFileSync('umount', ['-l', path]);
}
