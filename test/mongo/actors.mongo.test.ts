import { createHash } from 'node:crypto';
import { type Document, MongoClient } from 'mongodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { captureRole, oplogRole, oplogView, type SetupCommand } from '../../connectors/mongodb/setup.ts';
import { type MongoServer, mongoMissing, provideMongo } from '../support/provide.ts';
import { type AuditRecord, type Capture, startCapture } from './support/capture.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const VIEW = 'changetrail_oplog';

describe.skipIf(await mongoMissing())('who wrote, by the server’s own word', () => {
  let server: MongoServer;
  let root: MongoClient;
  let capture: Capture;
  const DB = 'shop';

  const run = ({ database, command }: SetupCommand) => root.db(database).command(command);
  const urlOf = (user: string, parameters = '') =>
    `mongodb://${user}:pw@${server.host}:${server.port}/?replicaSet=rs0&authSource=admin${parameters}`;
  const as = (user: string, parameters = '') => new MongoClient(urlOf(user, parameters));

  beforeAll(async () => {
    server = await provideMongo({ replicaSet: true, auth: true, fresh: true });
    root = new MongoClient(server.url);
    await run(captureRole(null));
    await run(oplogView(VIEW));
    await run(oplogRole(VIEW));
    for (const name of ['app1', 'app2', 'gone']) await createUser(name, [{ role: 'readWrite', db: DB }]);
    await createUser('auditor', [
      { role: 'changetrailCapture', db: 'admin' },
      { role: 'changetrailOplog', db: 'admin' },
    ]);
    await createUser('little', [{ role: 'onlyStream', db: 'admin' }]);
    await root.db(DB).createCollection('_changetrail_context');
    await root.db(DB).createCollection('a', { changeStreamPreAndPostImages: { enabled: true } });
    capture = await startCapture({ url: server.url, as: urlOf('auditor'), source: { collections: [`${DB}.*`] } });
  });
  afterAll(async () => {
    await capture?.[Symbol.asyncDispose]();
    await root?.close();
    await server?.[Symbol.asyncDispose]();
  });

  async function createUser(user: string, roles: Document[]): Promise<void> {
    if (user === 'little') {
      const privileges = [{ resource: { db: '', collection: '' }, actions: ['changeStream', 'find'] }];
      await root.db('admin').command({ createRole: 'onlyStream', privileges, roles: [] });
    }
    await root.db('admin').command({ createUser: user, pwd: 'pw', roles });
  }

  /** The records that `write` leads to, by this user. */
  async function recordsOf(
    user: string,
    parameters: string,
    write: (client: MongoClient) => Promise<unknown>,
  ): Promise<AuditRecord[]> {
    const before = (await capture.changes()).length;
    await using client = as(user, parameters);
    await write(client);
    return (await capture.changes()).slice(before);
  }

  const verified = (user: string) => ({ assurance: 'verified', via: 'lsid', db_user: `${user}@admin` });
  const nobody = (reason: string) => ({ assurance: 'none', reason });

  test('retryable writes are attributed through the view on the oplog', async () => {
    const records = await recordsOf('app1', '', async (client) => {
      const a = client.db(DB).collection<{ _id: string | number }>('a');
      await a.insertOne({ _id: 1 });
      await a.updateOne({ _id: 1 }, { $set: { x: 1 } });
      await a.replaceOne({ _id: 1 }, { y: 1 } as Document);
      await a.findOneAndUpdate({ _id: 1 }, { $set: { z: 1 } });
      await a.insertMany([{ _id: 'm1' }, { _id: 'm2' }, { _id: 2.5 }]);
      await a.updateOne({ _id: 'up' }, { $set: { n: 1 } }, { upsert: true });
      await a.bulkWrite([
        { insertOne: { document: { _id: 'b1' } } },
        { updateOne: { filter: { _id: 'b1' }, update: { $set: { n: 2 } } } },
      ]);
      await a.deleteOne({ _id: 1 });
    });
    expect(records).toHaveLength(11);
    for (const record of records) expect(record.actor).toMatchObject(verified('app1'));
  });

  test('so are those of a collection whose name has a line end', async () => {
    const records = await recordsOf('app1', '', (client) => client.db(DB).collection('two\nlines').insertOne({}));
    expect(records.at(-1)).toMatchObject({
      action: 'insert',
      object: { collection: 'two\nlines' },
      actor: verified('app1'),
    });
  });

  test('transactions are attributed by the event itself, updateMany inside of them too', async () => {
    const records = await recordsOf('app2', '&retryWrites=false', async (client) => {
      await client.withSession((session) =>
        session.withTransaction(async () => {
          const a = client.db(DB).collection<Document>('a');
          await a.insertMany([{ t: 1 }, { t: 1 }], { session });
          await a.updateMany({ t: 1 }, { $set: { u: 1 } }, { session });
        }),
      );
    });
    expect(records.map((r) => r.action)).toEqual(['insert', 'insert', 'update', 'update']);
    for (const record of records) expect(record.actor).toMatchObject(verified('app2'));
    expect(new Set(records.map((r) => r.source.tx)).size).toBe(1);
    expect(records[0]!.source.tx).toMatch(/^[0-9a-f-]{36}:\d+$/);
    expect(records.map((r) => r.source.seq)).toEqual([0, 1, 2, 3]);
  });

  test('writes that no log names a user for say so', async () => {
    const records = await recordsOf('app1', '', async (client) => {
      const a = client.db(DB).collection<Document>('a');
      await a.updateMany({ t: 1 }, { $set: { v: 1 } });
      await a.deleteMany({ t: 1 });
      await client.db(DB).command({ insert: 'a', documents: [{ plain: true }] });
      await a.insertOne({ w: 0 }, { writeConcern: { w: 0 } });
      await a.aggregate([{ $limit: 1 }, { $set: { _id: 'merged' } }, { $merge: 'a' }]).toArray();
    });
    expect(records.length).toBeGreaterThanOrEqual(6);
    for (const record of records) expect(record.actor).toMatchObject(nobody('not_attributable'));
    const off = await recordsOf('app1', '&retryWrites=false', (client) =>
      client.db(DB).collection('a').insertOne({ retry: false }),
    );
    expect(off[0]!.actor).toMatchObject(nobody('not_attributable'));
  });

  test('a definition has no user, and says so', async () => {
    await root.db(DB).createCollection('made');
    const made = await capture.record((r) => r.action === 'create' && r.object.collection === 'made', 'the create');
    expect(made.actor).toMatchObject(nobody('not_attributable'));
  });

  test('a user made a moment ago has a name at once, and a dropped one keeps it', async () => {
    await createUser('fresh', [{ role: 'readWrite', db: DB }]);
    await new Promise((resolve) => setTimeout(resolve, 5_100));
    const first = await recordsOf('fresh', '', (client) => client.db(DB).collection('a').insertOne({}));
    expect(first[0]!.actor).toMatchObject(verified('fresh'));
    await using client = as('gone');
    await client.db(DB).collection('a').insertOne({ before: true });
    await capture.caughtUp();
    await capture.stop();
    await client.db(DB).collection('a').insertOne({ while: 'stopped' });
    await root.db('admin').command({ dropUser: 'gone' });
    await capture.start();
    const last = (await capture.changes('a')).at(-1)!;
    expect(last.after).toMatchObject({ while: 'stopped' });
    expect(last.actor).toMatchObject(verified('gone'));
  });

  test('a user that was never listed is recorded as the hash of its name', async () => {
    await createUser('ghost', [{ role: 'readWrite', db: DB }]);
    await capture.stop();
    {
      await using client = as('ghost');
      await client.db(DB).collection('a').insertOne({});
    }
    await root.db('admin').command({ dropUser: 'ghost' });
    await capture.start();
    const hex = createHash('sha256').update('ghost@admin').digest('hex');
    expect(JSON.stringify((await capture.changes('a')).at(-1)!.actor)).toContain(hex);
    await capture.stop();
    {
      await createUser('ghost2', [{ role: 'readWrite', db: DB }]);
      await using client = as('ghost2');
      await client.db(DB).collection('a').insertOne({});
      await root.db('admin').command({ dropUser: 'ghost2' });
    }
    await capture.start({ users: ['ghost2@admin'] });
    expect((await capture.changes('a')).at(-1)!.actor).toMatchObject(verified('ghost2'));
  });

  test('a context document names the application’s actor for what follows in its transaction, and is no record', async () => {
    const context = { id: 'alice@example.com', type: 'user', request_id: 'r-9', n: 7 };
    const records = await recordsOf('app1', '', async (client) => {
      const [a, c] = [
        client.db(DB).collection<Document>('a'),
        client.db(DB).collection<Document>('_changetrail_context'),
      ];
      await client.withSession((session) =>
        session.withTransaction(async () => {
          const { insertedId } = await c.insertOne({ ...context }, { session });
          await c.deleteOne({ _id: insertedId }, { session });
          await a.insertOne({ claimed: 1 }, { session });
          await a.updateOne({ claimed: 1 }, { $set: { claimed: 2 } }, { session });
        }),
      );
      await a.insertOne({ after: 'the transaction' });
      await c.insertOne({ id: 'mallory' });
      await a.insertOne({ after: 'a context outside of a transaction' });
    });
    expect(records.map((r) => r.object.collection)).toEqual(['a', 'a', 'a', 'a']);
    for (const record of records.slice(0, 2)) {
      expect(record.actor).toMatchObject({
        id: 'alice@example.com',
        type: 'user',
        assurance: 'claimed',
        via: 'message',
        db_user: 'app1@admin',
      });
      expect(record.context).toMatchObject({ request_id: 'r-9', n: 7 });
    }
    expect(records.map((r) => r.source.seq)).toEqual([2, 3, 0, 0]);
    for (const record of records.slice(2)) expect(record.actor).toMatchObject(verified('app1'));
    expect(capture.log.count('context_outside_transaction')).toBe(1);
  });

  test('the smallest role captures everything; only the users of retryable writes are missing', async () => {
    await using small = await startCapture({
      url: server.url,
      as: urlOf('little'),
      source: { collections: [`${DB}.*`] },
    });
    await using client = as('app1');
    const a = client.db(DB).collection<Document>('a');
    await a.insertOne({ small: 1 });
    await a.updateOne({ small: 1 }, { $set: { small: 2 } });
    await client.withSession((session) => session.withTransaction(() => a.insertOne({ small: 3 }, { session })));
    const records = await small.changes('a');
    expect(records.map((r) => r.action)).toEqual(['insert', 'update', 'insert']);
    expect(records[0]!.actor).toMatchObject(nobody('oplog_view_unreadable'));
    expect(records[1]).toMatchObject({ before: { small: 1 }, after: { small: 2 } });
    expect(records[2]!.actor).toMatchObject({ assurance: 'verified', via: 'lsid' });
    expect(small.log.count('users_unreadable')).toBe(1);
  });

  test('the auditor of the printed roles cannot read the oplog itself, which holds everybody’s keys', async () => {
    await using client = as('auditor');
    await expect(client.db('local').collection('oplog.rs').findOne({})).rejects.toMatchObject({ code: 13 });
    await expect(client.db('local').collection(VIEW).findOne({})).resolves.toHaveProperty('ts');
    const keys = new Set<string>();
    for await (const entry of client.db('local').collection(VIEW).find({ ns: 'admin.system.users' })) {
      for (const key of Object.keys(entry['o'] ?? {})) keys.add(key);
    }
    expect([...keys]).toEqual(['_id']);
  });
});

describe.skipIf(await mongoMissing())('who wrote, without authentication', () => {
  test('is said to be off, in and outside of transactions', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const a = client.db(database.name).collection<Document>('a');
    await client.db(database.name).createCollection('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await a.insertOne({});
    await client.withSession((session) => session.withTransaction(() => a.insertOne({}, { session })));
    const records = await capture.changes('a');
    expect(records.map((r) => r.actor)).toMatchObject([
      { assurance: 'none', reason: 'authentication_off' },
      { assurance: 'none', reason: 'authentication_off' },
    ]);
  });

  test('a field names the writer only where this write put it', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a', { changeStreamPreAndPostImages: { enabled: true } });
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.*`] },
      configuration: { actors: { columns: [{ tables: [`${database.name}.*`], column: 'updatedBy' }] } },
    });
    const a = client.db(database.name).collection<Document>('a');
    await a.insertOne({ updatedBy: 'alice', n: 1 });
    await a.updateOne({}, { $set: { n: 2 } });
    await a.updateOne({}, { $set: { n: 3, updatedBy: 'bob' } });
    await a.deleteOne({});
    const actors = (await capture.changes('a')).map((r) => r.actor?.id);
    expect(actors).toEqual(['alice', undefined, 'bob', undefined]);
  });
});
