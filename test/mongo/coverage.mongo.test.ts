// Which write has a user, and what a change stream does not show at all: the tables of the guide, row by row.
import { Binary, type Document, MongoClient } from 'mongodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { collectionMatcher } from '../../connectors/mongodb/patterns.ts';
import { captureRole, oplogRole, oplogView } from '../../connectors/mongodb/setup.ts';
import { type MongoServer, mongoMissing, provideMongo } from '../support/provide.ts';
import { type AuditRecord, type Capture, startCapture } from './support/capture.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const DB = 'shop';
const VIEW = 'changetrail_oplog';
const MB = 1024 * 1024;
const WAIT = { timeout: 60_000, interval: 500 };

describe.skipIf(await mongoMissing())('who wrote, by kind of write', () => {
  let server: MongoServer;
  let root: MongoClient;
  let app: MongoClient;
  let capture: Capture;

  const urlOf = (user: string) => `mongodb://${user}:pw@${server.host}:${server.port}/?replicaSet=rs0&authSource=admin`;
  const a = () => app.db(DB).collection<Document>('a');

  beforeAll(async () => {
    server = await provideMongo({ replicaSet: true, auth: true, fresh: true, parameters: { ttlMonitorSleepSecs: 1 } });
    root = new MongoClient(server.url);
    const admin = root.db('admin');
    for (const { database, command } of [captureRole(null), oplogView(VIEW), oplogRole(VIEW)]) {
      await root.db(database).command(command);
    }
    await admin.command({ createUser: 'app', pwd: 'pw', roles: [{ role: 'readWrite', db: DB }] });
    await admin.command({ createUser: 'other', pwd: 'pw', roles: [{ role: 'readWrite', db: DB }] });
    const roles = ['changetrailCapture', 'changetrailOplog'].map((role) => ({ role, db: 'admin' }));
    await admin.command({ createUser: 'auditor', pwd: 'pw', roles });
    await root.db(DB).createCollection('_changetrail_context');
    await root.db(DB).createCollection('a');
    app = new MongoClient(urlOf('app'));
    capture = await startCapture({ url: server.url, as: urlOf('auditor'), source: { collections: [`${DB}.a`, '*'] } });
  });
  afterAll(async () => {
    await capture?.[Symbol.asyncDispose]();
    await app?.close();
    await root?.close();
    await server?.[Symbol.asyncDispose]();
  });

  async function recordsOf(write: () => Promise<unknown>): Promise<AuditRecord[]> {
    const before = (await capture.caughtUp()).length;
    await write();
    return (await capture.caughtUp()).slice(before).filter((r) => r.kind === 'change' || r.kind === 'schema');
  }
  const writers = (records: readonly AuditRecord[]) =>
    records.map((r) => `${r.action} ${r.actor?.db_user ?? r.actor?.['reason']}`);

  test('one updateMany in a bulk takes the user from the other updates of its run, and from nothing else', async () => {
    const records = await recordsOf(() =>
      a().bulkWrite([
        { insertOne: { document: { bulk: 1 } } },
        { insertOne: { document: { bulk: 2 } } },
        { updateOne: { filter: { bulk: 1 }, update: { $set: { u: 1 } } } },
        { updateMany: { filter: { bulk: 2 }, update: { $set: { u: 1 } } } },
      ]),
    );
    expect(writers(records)).toEqual([
      'insert app@admin',
      'insert app@admin',
      'update not_attributable',
      'update not_attributable',
    ]);
  });

  test('$out and TTL deletes have no user', async () => {
    const out = await recordsOf(() =>
      a()
        .aggregate([{ $limit: 1 }, { $out: 'copy' }])
        .toArray(),
    );
    expect(out.map((r) => r.action)).toEqual(expect.arrayContaining(['insert', 'rename']));
    for (const record of out) expect(record.actor).toMatchObject({ reason: 'not_attributable' });
    const expiring = app.db(DB).collection<Document>('expiring');
    await expiring.createIndex({ at: 1 }, { expireAfterSeconds: 0 });
    await expiring.insertOne({ at: new Date(0) });
    const gone = await capture.record((r) => r.action === 'delete' && r.object.collection === 'expiring', 'the delete');
    expect(gone.actor).toMatchObject({ assurance: 'none', reason: 'not_attributable' });
  });

  test('nobody can write under another user’s hash: the server refuses it', async () => {
    // A client of its own: the driver uses a session's id again.
    await using forger = new MongoClient(urlOf('app'));
    await forger.withSession(async (session) => {
      const { id } = (session as unknown as { serverSession: { id: Document } }).serverSession;
      id['uid'] = new Binary(Buffer.alloc(32, 7));
      const forged = forger.db(DB).collection('a').insertOne({ forged: true }, { session });
      await expect(forged).rejects.toMatchObject({ code: 13 });
    });
  });

  test('a transaction of 24 MB is one transaction with its actor from the first record to the last', async () => {
    const records = await recordsOf(() =>
      app.withSession((session) =>
        session.withTransaction(async () => {
          await app.db(DB).collection('_changetrail_context').insertOne({ id: 'alice' }, { session });
          for (let n = 0; n < 24; n++) await a().insertOne({ n, filler: 'x'.repeat(MB) }, { session });
        }),
      ),
    );
    expect(records.map((r) => r.actor?.id)).toEqual(Array(24).fill('alice'));
    expect(records.map((r) => r.source.seq)).toEqual(Array.from({ length: 24 }, (_, n) => n + 1));
    expect(new Set(records.map((r) => `${r.source.tx} ${r.source.ts}`)).size).toBe(1);
    const entries = await root.db('local').collection('oplog.rs').countDocuments({ 'o.partialTxn': true });
    expect(entries).toBeGreaterThan(0);
  });

  test('an aborted transaction leaves nothing, and its context document names nobody later', async () => {
    const records = await recordsOf(async () => {
      await app.withSession(async (session) => {
        session.startTransaction();
        await app.db(DB).collection('_changetrail_context').insertOne({ id: 'mallory' }, { session });
        await a().insertOne({ aborted: true }, { session });
        await session.abortTransaction();
        session.startTransaction();
        await a().insertOne({ committed: true }, { session });
        await session.commitTransaction();
      });
    });
    expect(records.map((r) => r.after)).toMatchObject([{ committed: true }]);
    expect(writers(records)).toEqual(['insert app@admin']);
    expect(records[0]!.actor?.id).not.toBe('mallory');
  });

  test('a context document inserted last names nobody before it', async () => {
    const records = await recordsOf(() =>
      app.withSession((session) =>
        session.withTransaction(async () => {
          await a().insertOne({ first: true }, { session });
          await app.db(DB).collection('_changetrail_context').insertOne({ id: 'late' }, { session });
          await a().insertOne({ second: true }, { session });
        }),
      ),
    );
    expect(records.map((r) => r.actor?.id === 'late')).toEqual([false, true]);
  });

  test('an entry that the oplog no longer has is said to be gone, not to be anonymous', async () => {
    await root.db('local').command({ collMod: VIEW, viewOn: 'oplog.rs', pipeline: [{ $match: { op: 'c' } }] });
    try {
      const records = await recordsOf(() => a().insertOne({ rolled: true }));
      expect(writers(records)).toEqual(['insert oplog_rolled']);
    } finally {
      const { pipeline } = oplogView(VIEW).command;
      await root.db('local').command({ collMod: VIEW, viewOn: 'oplog.rs', pipeline });
    }
  });

  test('a view that is dropped, or may not be read any more, is said to be; nothing stops', async () => {
    const insert = (n: number) => recordsOf(() => a().insertOne({ view: n }));
    const roles = [{ role: 'changetrailOplog', db: 'admin' }];
    for (let times = 1; times <= 2; times++) {
      try {
        await root.db('local').collection(VIEW).drop();
        expect(writers(await insert(1))).toEqual(['insert oplog_view_missing']);
      } finally {
        await root.db('local').command(oplogView(VIEW).command);
      }
      await vi.waitFor(async () => expect(writers(await insert(2))).toEqual(['insert app@admin']), WAIT);
      // Each time by one line.
      expect(capture.log.count('oplog_view_missing')).toBe(times);
    }
    try {
      await root.db('admin').command({ revokeRolesFromUser: 'auditor', roles });
      expect(writers(await insert(3))).toEqual(['insert oplog_view_unreadable']);
    } finally {
      await root.db('admin').command({ grantRolesToUser: 'auditor', roles });
    }
    await vi.waitFor(async () => expect(writers(await insert(4))).toEqual(['insert app@admin']), WAIT);
    expect(capture.log.count('source_waiting')).toBe(0);
  });

  test('the oplog is asked once a batch, by time only: the server scans no more than the batch', async () => {
    await a().insertMany(Array.from({ length: 200 }, (_, n) => ({ n })));
    const { operationTime } = await root.db(DB).command({ ping: 1 });
    const filter = { ts: { $gte: operationTime, $lte: operationTime }, ...collectionMatcher(['shop.*']).oplogFilter };
    const { executionStats } = await root
      .db('local')
      .command({ explain: { find: VIEW, filter }, verbosity: 'executionStats' });
    expect(JSON.stringify(executionStats)).not.toMatch(/"docsExamined":\d{2,}/);
  });

  test('changes of users and everything in admin, config and local are not in the stream', async () => {
    const records = await recordsOf(async () => {
      await root.db('admin').command({ createUser: 'new', pwd: 'pw', roles: [] });
      await root.db('admin').command({ grantRolesToUser: 'new', roles: [{ role: 'read', db: DB }] });
      await root.db('admin').command({ dropUser: 'new' });
      await root.db('admin').collection('seen').insertOne({ n: 1 });
      await a().insertOne({ marker: true });
    });
    expect(records.map((r) => r.object.database)).toEqual([DB]);
  });
});

describe.skipIf(await mongoMissing())('what a change stream does not show', () => {
  test('the context collection counts although no pattern names it, and is no record', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    for (const name of ['a', 'b', '_changetrail_context']) await db.createCollection(name);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.a`] } });
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await db.collection('_changetrail_context').insertOne({ id: 'alice' }, { session });
        await db.collection('b').insertOne({}, { session });
        await db.collection('a').insertOne({}, { session });
      }),
    );
    expect((await capture.changes()).map((r) => [r.object.collection, r.actor?.id, r.source.seq])).toEqual([
      ['a', 'alice', 2],
    ]);
  });

  test('applyOps in its atomic form, on 6.0; in the other form each operation is a record', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    const insert = (n: number) => ({ op: 'i', ns: `${database.name}.a`, o: { _id: n } });
    await client.db('admin').command({ applyOps: [insert(1), insert(2)] });
    await client.db('admin').command({ applyOps: [insert(3), insert(4)], allowAtomic: false });
    const keys = (await capture.changes('a')).map((r) => (r.object.key as Document)['_id']);
    expect(keys).toEqual(server.version.startsWith('6.0.') ? [3, 4] : [1, 2, 3, 4]);
  });

  test('a collection made capped is a rename over it; its documents have no events', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.collection('a').insertMany([{ n: 1 }, { n: 2 }]);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.a`] } });
    await db.command({ convertToCapped: 'a', size: 4096 });
    await db.collection('a').insertOne({ n: 3 });
    const records = (await capture.caughtUp()).filter((r) => r.kind === 'change' || r.action !== 'read');
    const stream = records.filter((r) => r.source.ts !== undefined && r.kind !== 'capture');
    expect(stream.map((r) => r.action)).toEqual(['drop', 'rename', 'insert']);
    expect(stream[0]).toMatchObject({
      object: { collection: 'a' },
      missing: { documents: 'dropped_without_delete_events' },
    });
    expect(stream[2]!.after).toMatchObject({ n: 3 });
  });
});
