import { spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { changesOf, checkLedger, lsnOf, readLedger } from './support/ledger-view.ts';
import { LOAD_SCHEMA, LOAD_TABLES, Load, seedFromEnvironment } from './support/load.ts';
import { runCommandLine, TrailProcess, writeConfig } from './support/trail-process.ts';
import { expectExactly, untilConfirmed, watchTruth } from './support/truth.ts';

const SLOT = 'changetrail_shop';
const SINK = { sinks: { out: { type: 'stdout' } } };
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

async function confirmed(database: TestDatabase): Promise<bigint> {
  const sql = 'select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = $1';
  return lsnOf((await database.query(sql, [SLOT])).rows[0].lsn);
}

describe('the end of a run', async () => {
  const major = postgresMajors().at(-1)!;
  const skip = await postgresMissing(major);

  test.skipIf(skip)(
    'SIGTERM under load: what was received is durable, confirmed and delivered, and the next run goes on behind it',
    { timeout: 180_000 },
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query(LOAD_SCHEMA);
      const config = writeConfig(directory.path, { url: database.url, rest: SINK });
      const data = directory.join('data');
      const delivered: string[] = [];
      {
        await using first = TrailProcess.launch(['run', '--config', config], { stdout: 'keep' });
        await first.streaming();
        await first.stop();
        delivered.push(first.stdout);
      }
      await watchTruth(database, LOAD_TABLES);
      const load = new Load({ url: database.url, seed: seedFromEnvironment(), connections: 2 });
      try {
        for (let round = 0; round < 2; round++) {
          await using trail = TrailProcess.launch(['run', '--config', config], { stdout: 'keep' });
          await trail.streaming();
          while (load.transactions < (round + 1) * 30) await new Promise((resolve) => setTimeout(resolve, 50));
          expect(await trail.stop(), trail.stderr).toEqual({ code: 0, signal: null });
          delivered.push(trail.stdout);
          const records = readLedger(data);
          expect(
            delivered
              .join('')
              .split('\n')
              .slice(0, -1)
              .map((line) => JSON.parse(line)),
          ).toEqual(records);
          // The last transaction may have come only in part, and is then not confirmed: it will be sent again.
          const whole = [...new Set(changesOf(records).map((record) => record.source['lsn']))].at(-2);
          if (whole !== undefined) expect(await confirmed(database)).toBeGreaterThanOrEqual(lsnOf(whole));
        }
      } finally {
        await load.stop();
      }
      await using last = TrailProcess.launch(['run', '--config', config]);
      await untilConfirmed(database, SLOT, last);
      expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
      await expectExactly(readLedger(data), database, LOAD_TABLES);
    },
  );

  test.skipIf(skip)(
    'a reader that goes away (head -1) ends the run quietly, and loses nothing',
    { timeout: 120_000 },
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query('create table t (id int primary key)');
      const config = writeConfig(directory.path, { url: database.url, rest: SINK });
      {
        await using first = TrailProcess.launch(['run', '--config', config]);
        await first.streaming();
        expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
      }
      const line = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN, 'run', '--config', config];
      const shell = spawn('bash', ['-c', '"$@" | head -1; exit ${PIPESTATUS[0]}', '--', ...line], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, CHANGETRAIL_LOG_FORMAT: 'json' },
      });
      let [out, err, over] = ['', '', false];
      shell.stdout.on('data', (text) => {
        out += text;
      });
      shell.stderr.on('data', (text) => {
        err += text;
      });
      const closed = once(shell, 'close').then(([code]) => {
        over = true;
        return code as number;
      });
      // Each row is another write to the pipe that nobody reads any more.
      for (let id = 1; !over; id++) {
        await database.query(`insert into t values (${id})`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      expect(await closed, err).toBe(0);
      expect(JSON.parse(out)).toMatchObject({ v: 1, index: expect.any(Number) });
      expect(err).not.toMatch(/^\s+at /m);
      expect(err).not.toContain('EPIPE');
      await using again = TrailProcess.launch(['run', '--config', config], { stdout: 'keep' });
      await untilConfirmed(database, SLOT, again);
      expect(await again.stop(), again.stderr).toMatchObject({ code: 0 });
      const records = readLedger(directory.join('data'));
      checkLedger(records);
      const { rows } = await database.query('select count(*)::int as rows from t');
      expect(changesOf(records).length).toBe(rows[0].rows);
    },
  );

  test.skipIf(skip)('--for ends the run by itself, with 0', async () => {
    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await using directory = await temporaryDirectory();
    await database.query('create table t (id int primary key)');
    const config = writeConfig(directory.path, { url: database.url });
    const run = await runCommandLine(['run', '--config', config, '--for', '1s']);
    expect(run.exit, run.stderr).toEqual({ code: 0, signal: null });
    checkLedger(readLedger(directory.join('data')));
  });
});
