import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Document, MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { dataLayout } from '../../src/ledger/layout.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type MongoServer, mongoMissing, provideMongo } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { type AuditRecord, type Capture, startCapture } from './support/capture.ts';
import { rollOplog } from './support/oplog.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const DB = 'shop';
const OPLOG_MB = 16;
const source = { collections: [`${DB}.*`] };

const numbers = (records: readonly AuditRecord[]) =>
  records.filter((r) => r.kind === 'change').map((r) => (r.after as { n: number }).n);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

describe.skipIf(await mongoMissing())('resume', () => {
  test('what is written while nobody looks is recorded at the next start, once and in order', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const a = client.db(database.name).collection<Document>('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    for (const n of upTo(40)) {
      if (n === 10) await capture.stop();
      if (n === 20) await capture.start();
      if (n === 30) {
        await capture.abort();
        await capture.start();
      }
      await a.insertOne({ n });
    }
    expect(numbers(await capture.changes('a'))).toEqual(upTo(40));
    expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
  });

  test('without its position file it goes on from the ledger’s last record', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const a = client.db(database.name).collection<Document>('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await a.insertOne({ n: 0 });
    await capture.caughtUp();
    await capture.abort();
    rmSync(dataLayout(capture.data).positions, { recursive: true });
    await a.insertOne({ n: 1 });
    await capture.start();
    expect(numbers(await capture.changes('a'))).toEqual([0, 1]);
    expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
  });

  test('a transaction across many batches keeps its actor and ordinals, also when capture ends in the middle of it', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('a');
    await db.createCollection('_changetrail_context');
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.*`], batch_size: 7 },
      waitForStream: true,
    });
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await db.collection<Document>('_changetrail_context').insertOne({ id: 'alice' }, { session });
        await db.collection<Document>('a').insertMany(
          upTo(2000).map((n) => ({ n })),
          { session },
        );
      }),
    );
    const cut = await until(() => capture.records().filter((r) => r.kind === 'change').length > 20 && true, {
      what: 'the first records',
    });
    expect(cut).toBe(true);
    await capture.abort();
    const held = capture.records().filter((r) => r.kind === 'change').length;
    await capture.start();
    const changes = await capture.changes('a');
    expect(held).toBeLessThanOrEqual(changes.length);
    expect(numbers(changes)).toEqual(upTo(2000));
    expect(changes.map((r) => r.source.seq)).toEqual(upTo(2000).map((n) => n + 1));
    expect(new Set(changes.map((r) => r.actor?.id))).toEqual(new Set(['alice']));
    expect(new Set(changes.map((r) => r.source.tx)).size).toBe(1);
  });

  test('a position is never moved back while the start of a transaction is read again', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('a');
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.*`], batch_size: 10 },
    });
    await client.withSession((session) =>
      session.withTransaction(() =>
        db.collection<Document>('a').insertMany(
          upTo(500).map((n) => ({ n })),
          { session },
        ),
      ),
    );
    // Each start reads the transaction from its beginning, and is ended while it does.
    for (let round = 0; round < 6; round++) {
      const before = capture.records().length;
      const all = () => capture.records().filter((r) => r.kind === 'change').length === 500;
      await until(() => capture.records().length > before || all(), { what: 'more records' });
      await (round % 2 === 0 ? capture.stop() : capture.abort());
      await capture.start();
    }
    expect(numbers(await capture.changes('a'))).toEqual(upTo(500));
  });

  test('an idle source moves on, so that it stays inside of the oplog', async () => {
    await using server = await provideMongo({
      replicaSet: true,
      fresh: true,
      parameters: { periodicNoopIntervalSecs: 1 },
    });
    await using capture = await startCapture({ url: server.url, source });
    const first = await until(() => position(capture), { what: 'the first position' });
    const later = await until(() => position(capture) > first && position(capture), {
      what: 'the position to move',
    });
    expect(later > first).toBe(true);
    expect(capture.records().filter((r) => r.kind === 'change')).toEqual([]);
  });

  test('a source whose collections rest moves on while others are written to', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    const first = await until(() => position(capture), { what: 'the first position' });
    const elsewhere = client.db(`${database.name}_other`);
    await until(
      async () => {
        await elsewhere.collection('b').insertOne({});
        return position(capture) > first;
      },
      { what: 'the position to move' },
    );
    await elsewhere.dropDatabase();
    expect(capture.records().filter((r) => r.kind === 'change')).toEqual([]);
  });

  const edits: [string, (position: SavedPosition) => SavedPosition, string][] = [
    [
      'a token of an event that the server never had (error 280)',
      // The same time, but for the counter in it.
      (p) => ({ ...p, token: `${p.token!.slice(0, 10)}0000FFFF${p.token!.slice(18)}` }),
      'resume_token_not_found',
    ],
    ['a time ahead of the server', (p) => ({ ...p, ts: '4000000000.1' }), 'server_behind'],
  ];
  test.each(edits)('%s is a gap record, and capture goes on', async (_what, edit, cause) => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const a = client.db(database.name).collection<Document>('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await a.insertOne({ n: 0 });
    await capture.caughtUp();
    await capture.stop();
    editPosition(capture, edit);
    await sleep(1_100);
    await client.db(`${database.name}_other`).collection('b').insertOne({});
    await capture.start();
    await a.insertOne({ n: 1 });
    expect(numbers(await capture.changes('a'))).toEqual([0, 1]);
    const gaps = capture.records().filter((r) => r.kind === 'gap');
    expect(gaps.map((r) => r['details'])).toMatchObject([{ cause, lineage_reset: true }]);
  });

  const unreadable: [string, (token: string) => string][] = [
    ['of a later version', (token) => `${token.slice(0, 18)}2B06${token.slice(22)}`],
    ['cut off', (token) => token.slice(0, 20)],
    ['that is no hex text', (token) => `${token.slice(0, -2)}ZZ`],
  ];
  test.each(unreadable)(
    'a token %s is a gap record, once; the time is good, so nothing is left out',
    async (_w, damage) => {
      const server = await provideMongo({ replicaSet: true });
      await using database = server.createDatabase();
      await using client = new MongoClient(server.url);
      const a = client.db(database.name).collection<Document>('a');
      await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
      await a.insertOne({ n: 0 });
      await capture.caughtUp();
      await capture.stop();
      editPosition(capture, (p) => ({ ...p, token: damage(p.token!) }));
      await a.insertOne({ n: 1 });
      await capture.start();
      await capture.abort();
      await capture.start();
      await a.insertOne({ n: 2 });
      expect(numbers(await capture.changes('a'))).toEqual(upTo(3));
      const gaps = capture.records().filter((r) => r.kind === 'gap');
      expect(gaps.map((r) => r['details'])).toMatchObject([{ cause: 'resume_token_invalid' }]);
      expect(gaps[0]!['details']).not.toHaveProperty('lineage_reset');
      expect(capture.log.count('source_waiting')).toBe(0);
    },
  );

  test('narrowed to one database and widened again, it goes on without a gap, whichever database was written to last', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using kept = server.createDatabase();
    await using other = server.createDatabase();
    await using client = new MongoClient(server.url);
    const [a, b] = [kept, other].map(({ name }) => client.db(name).collection<Document>('a'));
    await using capture = await startCapture({
      url: server.url,
      markerDatabase: kept.name,
      source: { collections: [`${kept.name}.*`, `${other.name}.*`] },
    });
    await b!.insertOne({ n: 0 });
    await capture.record((r) => r.kind === 'change' && r.object.database === other.name, 'the other database');
    await capture.stop();
    await a!.insertOne({ n: 1 });
    await capture.start({ scope: 'database', database: kept.name, collections: [`${kept.name}.*`] });
    await a!.insertOne({ n: 2 });
    await capture.caughtUp();
    await capture.stop();
    await b!.insertOne({ n: 3 });
    await capture.start();
    await a!.insertOne({ n: 4 });
    expect(numbers(await capture.changes())).toEqual(upTo(5));
    expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
  });

  test('an oplog that has rolled over is a gap record, then a fresh start; once', async () => {
    await using server = await provideMongo({
      replicaSet: true,
      fresh: true,
      oplogSizeMb: OPLOG_MB,
    });
    await using client = new MongoClient(server.url);
    const a = client.db(DB).collection<Document>('a');
    await using capture = await startCapture({ url: server.url, source });
    await a.insertOne({ n: 0 });
    await capture.caughtUp();
    await capture.stop();
    await a.insertOne({ n: 1 });
    await rollOplog(client, OPLOG_MB);
    await capture.start();
    const gap = await capture.record((r) => r.kind === 'gap', 'the gap record');
    expect(gap).toMatchObject({ outcome: 'unknown', details: { cause: 'oplog_rolled_over' } });
    const { from, to } = gap.details as { from: string; to: string };
    expect(Number(from)).toBeLessThan(Number(to));
    await a.insertOne({ n: 2 });
    expect(numbers(await capture.changes('a'))).toEqual([0, 2]);
    const start = capture.records().findLast((r) => r.kind === 'capture' && r.action === 'start')!;
    expect(gap.index).toBeLessThan(start.index);
    await capture.stop();
    await capture.start();
    await a.insertOne({ n: 3 });
    expect(numbers(await capture.changes('a'))).toEqual([0, 2, 3]);
    expect(capture.records().filter((r) => r.kind === 'gap')).toHaveLength(1);
  });

  test('another deployment behind the same url is a gap record, and its changes are captured', async () => {
    await using directory = await temporaryDirectory();
    const data = directory.join('data');
    {
      await using first = await provideMongo({ replicaSet: true, fresh: true });
      await using client = new MongoClient(first.url);
      await using capture = await startCapture({ url: first.url, source, data });
      await client.db(DB).collection('a').insertOne({ n: 0 });
      await capture.caughtUp();
    }
    await using second = await provideMongo({ replicaSet: true, fresh: true });
    await using client = new MongoClient(second.url);
    await using capture = await startCapture({ url: second.url, source, data });
    await client.db(DB).collection('a').insertOne({ n: 1 });
    expect(numbers(await capture.changes('a'))).toEqual([0, 1]);
    expect(capture.records().filter((r) => r.kind === 'gap')).toMatchObject([
      { details: { cause: 'other_cluster', lineage_reset: true } },
    ]);
    const said = capture.log.entries.find((entry) => entry['event'] === 'gap')!;
    expect(said['action']).toMatch(/url/);
  });
});

describe.skipIf(await mongoMissing())('failures of the server', () => {
  const cases: [string, (server: MongoServer, client: MongoClient) => Promise<void>][] = [
    ['the primary stepping down', (server) => server.stepDown()],
    [
      'SIGKILL of mongod',
      async (server) => {
        await server.kill9();
        await server.start();
      },
    ],
    ['an orderly restart', (server) => server.restart()],
    [
      'killed cursors',
      async (_server, client) => {
        const { cursor } = await client.db('admin').command({
          aggregate: 1,
          pipeline: [{ $currentOp: { allUsers: true, idleCursors: true } }, { $match: { 'cursor.tailable': true } }],
          cursor: {},
        });
        for (const op of cursor.firstBatch as Document[]) {
          const killed = { killCursors: '$cmd.aggregate', cursors: [op['cursor'].cursorId] };
          await client.db('admin').command(killed);
        }
      },
    ],
    [
      'killed connections',
      async (_server, client) => {
        await client.db('admin').command({ dropConnections: 1, hostAndPort: [] });
        const { inprog } = await client.db('admin').command({ currentOp: 1, 'command.getMore': { $exists: true } });
        for (const op of inprog as Document[]) await client.db('admin').command({ killOp: 1, op: op['opid'] });
      },
    ],
  ];

  test.each(cases)(
    '%s: captured on, exactly once and in order',
    async (_name, disturb) => {
      await using server = await provideMongo({ replicaSet: true, fresh: true });
      await using client = new MongoClient(server.url, { writeConcern: { w: 'majority' } });
      const a = client.db(DB).collection<Document>('a');
      await using capture = await startCapture({ url: server.url, source });
      let n = 0;
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 20; i++) await a.insertOne({ n: n++ });
        await disturb(server, client);
      }
      for (let i = 0; i < 20; i++) await a.insertOne({ n: n++ });
      expect(numbers(await capture.changes('a'))).toEqual(upTo(n));
      expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
    },
    240_000,
  );
});

describe.skipIf(await mongoMissing())('failures of the network', () => {
  test('connections that are cut again and again: captured on, exactly once and in order', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await using proxy = await FaultProxy.start(server.port);
    const a = client.db(database.name).collection<Document>('a');
    await using capture = await startCapture({
      url: server.url,
      as: `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`,
      source: { collections: [`${database.name}.*`], batch_size: 7 },
    });
    for (const n of upTo(120)) {
      await a.insertOne({ n });
      if (n % 30 === 29) proxy.cutAll();
    }
    expect(numbers(await capture.changes('a'))).toEqual(upTo(120));
    expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
  });

  test('a server that answers nobody any more is left, and read on when it is back', async ({ skip }) => {
    await using server = await provideMongo({ replicaSet: true, fresh: true });
    skip(server.provider === 'container', 'its process cannot be stopped from here');
    await using client = new MongoClient(server.url);
    const a = client.db(DB).collection<Document>('a');
    await using capture = await startCapture({ url: server.url, source });
    await a.insertOne({ n: 0 });
    await capture.caughtUp();
    const { pid } = await server.command({ serverStatus: 1 });
    process.kill(Number(pid), 'SIGSTOP');
    try {
      await until(() => capture.log.count('source_waiting') > 0, { what: 'the loss to be seen', timeoutMs: 90_000 });
    } finally {
      process.kill(Number(pid), 'SIGCONT');
    }
    await a.insertOne({ n: 1 });
    expect(numbers(await capture.changes('a'))).toEqual(upTo(2));
    expect(capture.records().filter((r) => r.kind === 'gap')).toEqual([]);
  });
});

interface SavedPosition {
  readonly ts: string;
  readonly seq: number;
  readonly token: string | null;
}

const positionFile = (capture: Capture) => join(dataLayout(capture.data).positions, 'docs.json');

function savedPosition(capture: Capture): SavedPosition {
  const { position } = JSON.parse(readFileSync(positionFile(capture), 'utf8')) as { position: string };
  return JSON.parse(position) as SavedPosition;
}

/** Seconds of the saved position. */
function position(capture: Capture): number {
  return Number(savedPosition(capture).ts.split('.')[0]);
}

function editPosition(capture: Capture, edit: (position: SavedPosition) => SavedPosition): void {
  const file = JSON.parse(readFileSync(positionFile(capture), 'utf8')) as { position: string };
  writeFileSync(
    positionFile(capture),
    JSON.stringify({ ...file, position: JSON.stringify(edit(savedPosition(capture))) }),
  );
}
