import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Document, MongoClient, type Timestamp } from 'mongodb';
import { describe, expect, test } from 'vitest';
import type { AuditRecord } from '../../src/record/schema.ts';
import { checkLedger, readLedger } from '../e2e/support/ledger-view.ts';
import { randomFrom, seedFromEnvironment } from '../e2e/support/load.ts';
import { TrailProcess } from '../e2e/support/trail-process.ts';
import { type MongoServer, mongoMissing, provideMongo } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { MongoLoad, type Truth, truthSince } from './support/load.ts';

const SLOW = process.env['CHANGETRAIL_SLOW'] === '1';
/** One in five is a kill of mongod too. */
const PROCESS_KILLS = Number(process.env['CHANGETRAIL_TEST_KILLS'] ?? (SLOW ? 100 : 8));
const SERVER_KILLS = Math.ceil(PROCESS_KILLS / 5);
const DB = 'shop';

describe.skipIf(await mongoMissing())('MongoDB under kills', () => {
  test(`${PROCESS_KILLS} kills of the process and ${SERVER_KILLS} of mongod lose nothing, repeat nothing and keep the order`, {
    timeout: 120_000 + (PROCESS_KILLS + SERVER_KILLS) * 30_000,
  }, async () => {
    const seed = seedFromEnvironment();
    console.log(`MongoDB, killed: CHANGETRAIL_TEST_SEED=${seed}`);
    const random = randomFrom(seed);
    await using server = await provideMongo({ replicaSet: true, fresh: true, oplogSizeMb: 990 });
    await using directory = await temporaryDirectory();
    const data = directory.join('data');
    const config = directory.join('changetrail.yaml');
    const source = { type: 'mongodb', url: server.url, collections: [`${DB}.*`], batch_size: 50 };
    writeFileSync(config, JSON.stringify({ data, sources: { docs: source }, ledger: { segment_size: '1MiB' } }));
    const start = await prepare(server);
    await firstStart(config);
    const load = new MongoLoad({ url: server.url, database: DB, seed, workers: 3 });
    for (let kill = 0; kill < PROCESS_KILLS; kill++) {
      await using trail = TrailProcess.launch(['run', '--config', config]);
      // Most kills come while it streams, some while it starts.
      if (random() < 0.8) await trail.streaming();
      if (kill % 5 === 0) {
        await server.kill9();
        await server.start();
      }
      await sleep(random() * 700);
      expect(trail.exit, trail.stderr).toBeNull();
      await trail.kill9();
    }
    await load.stop();
    const truth = await truthSince(server.url, DB, start);
    await using last = TrailProcess.launch(['run', '--config', config]);
    await caughtUp(data, truth.length);
    expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
    const records = readLedger(data);
    checkLedger(records);
    expect(changes(records).map(asTruth)).toEqual(truth);
    expect(records.filter((r) => r.kind === 'gap')).toEqual([]);
    for (const record of changes(records).filter((r) => r.object.collection === 'entry')) {
      expect(record.actor?.id).toBe(`worker-${(record.after as { worker: number }).worker}`);
    }
    expect(load.writes).toBeGreaterThan(0);
    console.log(`MongoDB, killed: ${load.writes} writes, ${truth.length} changes, each recorded once and in order`);
  });
});

/** The collections; everything from the time that is returned on must be in the ledger. */
async function prepare(server: MongoServer): Promise<Timestamp> {
  await using client = new MongoClient(server.url);
  for (const name of ['item', 'entry', '_changetrail_context', 'end']) {
    await client
      .db(DB)
      .createCollection<Document>(name, { changeStreamPreAndPostImages: { enabled: name === 'item' } });
  }
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  return operationTime as Timestamp;
}

/** From here on the product knows where it stands. */
async function firstStart(config: string): Promise<void> {
  await using first = TrailProcess.launch(['run', '--config', config]);
  await first.streaming();
  expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
}

/** While it was killed again and again it fell behind, the further the slower the machine: what counts is that it comes on. */
async function caughtUp(data: string, count: number): Promise<void> {
  for (let held = -1; held < count; ) {
    const more = () => {
      const now = changes(readLedger(data)).length;
      return now > held && { now };
    };
    const what = `more than ${held} of ${count} changes in the ledger`;
    ({ now: held } = await until(more, { what, timeoutMs: 120_000 }));
    await sleep(1000);
  }
}

function changes(records: readonly AuditRecord[]): AuditRecord[] {
  return records.filter((r) => r.kind === 'change' && r.object.collection !== 'end');
}

function asTruth(record: AuditRecord): Truth {
  const id = (record.object.key as { _id: unknown })._id;
  const key = typeof id === 'object' && id !== null && '$oid' in id ? String(id.$oid) : String(id);
  return { action: record.action, collection: String(record.object.collection), key, ts: String(record.source.ts) };
}
