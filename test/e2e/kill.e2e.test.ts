import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { gapsOf, readLedger } from './support/ledger-view.ts';
import { LOAD_SCHEMA, LOAD_TABLES, Load, randomFrom, seedFromEnvironment } from './support/load.ts';
import { TrailProcess, writeConfig } from './support/trail-process.ts';
import { expectExactly, untilConfirmed, watchTruth } from './support/truth.ts';

const SLOW = process.env['CHANGETRAIL_SLOW'] === '1';
const PROCESS_KILLS = Number(process.env['CHANGETRAIL_TEST_KILLS'] ?? (SLOW ? 50 : 5));
/** Committed between two kills; two in a hundred have 5,000 rows. */
const TRANSACTIONS = 60;
const SERVER_KILLS = Math.max(2, Math.ceil(PROCESS_KILLS / 5));

/** Tables, the second slot, and the product's own slot: from here on everything committed must be in the ledger. */
async function prepared(database: TestDatabase, config: string): Promise<void> {
  await database.query(LOAD_SCHEMA);
  await using first = TrailProcess.launch(['run', '--config', config]);
  await first.streaming();
  expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
  await watchTruth(database, LOAD_TABLES);
}

/** Runs on until the server has been told that everything is durable, then stops in order. */
async function catchUp(config: string, database: TestDatabase, slot: string): Promise<void> {
  await using last = TrailProcess.launch(['run', '--config', config]);
  await untilConfirmed(database, slot, last);
  expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
}

describe.each(postgresMajors())('PostgreSQL %i', async (major) => {
  const skip = await postgresMissing(major);

  test.skipIf(skip)(
    `${PROCESS_KILLS} kills of the process at random moments lose nothing and repeat nothing`,
    { timeout: 60_000 + PROCESS_KILLS * 20_000 },
    async () => {
      const seed = seedFromEnvironment();
      console.log(`PostgreSQL ${major}, process killed: CHANGETRAIL_TEST_SEED=${seed}`);
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      const slot = `kill_${database.name}`;
      const config = writeConfig(directory.path, {
        url: database.url,
        source: { slot },
        rest: { ledger: { segment_size: '1MiB' } },
      });
      await prepared(database, config);
      const random = randomFrom(seed);
      const load = new Load({ url: database.url, seed, connections: 3, transactions: TRANSACTIONS });
      for (let kill = 0; kill < PROCESS_KILLS; kill++) {
        await using trail = TrailProcess.launch(['run', '--config', config]);
        // Most kills come while it streams, some while it starts.
        if (random() < 0.8) await trail.streaming();
        load.allow(TRANSACTIONS);
        await sleep(random() * 700);
        expect(trail.exit, trail.stderr).toBeNull();
        await trail.kill9();
      }
      await load.stop();
      await catchUp(config, database, slot);
      const records = readLedger(directory.join('data'));
      await expectExactly(records, database, LOAD_TABLES);
      expect(gapsOf(records)).toEqual([]);
    },
  );

  test.skipIf(skip)(
    `${SERVER_KILLS} kills of the server under load lose nothing and repeat nothing`,
    { timeout: 120_000 + SERVER_KILLS * 30_000 },
    async () => {
      const seed = seedFromEnvironment();
      console.log(`PostgreSQL ${major}, server killed: CHANGETRAIL_TEST_SEED=${seed}`);
      await using server = await providePostgres({ major, fresh: true, settings: { fsync: 'on' } });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      const slot = 'changetrail_shop';
      const config = writeConfig(directory.path, { url: database.url });
      await prepared(database, config);
      const random = randomFrom(seed);
      const load = new Load({ url: database.url, seed, connections: 2, transactions: TRANSACTIONS });
      await using trail = TrailProcess.launch(['run', '--config', config]);
      for (let kill = 0; kill < SERVER_KILLS; kill++) {
        await trail.streaming(kill + 1);
        load.allow(TRANSACTIONS);
        await sleep(300 + random() * 700);
        if (kill % 2 === 0) await server.stop('immediate');
        else await server.kill9();
        await server.start();
      }
      await trail.streaming(SERVER_KILLS + 1);
      await load.stop();
      expect(await trail.stop(), trail.stderr).toMatchObject({ code: 0 });
      await catchUp(config, database, slot);
      const records = readLedger(directory.join('data'));
      await expectExactly(records, database, LOAD_TABLES);
      expect(gapsOf(records)).toEqual([]);
    },
  );
});
