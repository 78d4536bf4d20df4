import { MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { startCapture } from './support/capture.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const ON = { changeStreamPreAndPostImages: { enabled: true } };
const OFF = { changeStreamPreAndPostImages: { enabled: false } };

describe.skipIf(await mongoMissing())('definitions', () => {
  test('every change of a definition is a schema record, in order', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await db.createCollection('a', ON);
    await db.collection('a').createIndex({ x: 1 });
    await db.collection('a').dropIndex('x_1');
    await db.command({ collMod: 'a', validator: { x: { $type: 'int' } } });
    await db.createCollection('v', { viewOn: 'a', pipeline: [] });
    await db.createCollection('series', { timeseries: { timeField: 't' } });
    await db.collection('series').insertOne({ t: new Date() });
    await db.collection('a').rename('b');
    await db.collection('b').drop();
    await db.dropDatabase();
    const records = (await capture.caughtUp()).filter((r) => r.kind === 'schema');
    expect(records.map((r) => [r.action, r.object.collection])).toEqual([
      ['create', 'a'],
      ['createIndexes', 'a'],
      ['dropIndexes', 'a'],
      ['modify', 'a'],
      ['create', 'v'],
      ['create', 'series'],
      ['rename', 'a'],
      ['drop', 'b'],
      // Views, and with them the face of a time-series collection, go without an event of their own.
      ['dropDatabase', undefined],
    ]);
    const of = (action: string, collection?: string) =>
      records.find((r) => r.action === action && r.object.collection === collection)!;
    expect(of('create', 'a').after).toMatchObject(ON);
    expect(of('create', 'a').object['uuid']).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-/);
    expect(of('createIndexes', 'a').after).toMatchObject({ indexes: [{ name: 'x_1' }] });
    expect(of('modify', 'a')).toMatchObject({
      before: { collectionOptions: ON },
      after: { validator: { x: { $literal: [['$type', 'int']] } } },
    });
    expect(of('create', 'series').missing).toEqual({ documents: 'time_series_not_in_change_stream' });
    expect(of('rename', 'a').after).toMatchObject({ to: { db: database.name, coll: 'b' } });
    expect(of('drop', 'b').missing).toEqual({ documents: 'dropped_without_delete_events' });
    expect(of('dropDatabase').missing).toEqual({ documents: 'dropped_without_delete_events' });
    // Trap: inserts into a time-series collection have no event.
    expect(await capture.changes('series')).toEqual([]);
  });

  test('a rename onto an existing collection records that one as dropped', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('from');
    await db.createCollection('onto');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await db.collection('from').rename('onto', { dropTarget: true });
    const records = (await capture.caughtUp()).filter((r) => r.kind === 'schema' && r.action !== 'read');
    expect(records).toMatchObject([
      {
        action: 'drop',
        object: { collection: 'onto' },
        missing: { documents: 'dropped_without_delete_events' },
        source: { part: 1 },
      },
      { action: 'rename', object: { collection: 'from' }, after: { to: { coll: 'onto' } } },
    ]);
    expect(records[0]!.id).toBe(`${records[1]!.id}:dropped`);
    expect(records[0]!.source.seq).toBe(records[1]!.source.seq);
  });

  test('a collection that is moved between databases is seen in the one that is captured', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using other = server.createDatabase();
    await using client = new MongoClient(server.url);
    const [mine, theirs] = [database.name, other.name];
    await client.db(theirs).collection<{ _id: number }>('x').insertOne({ _id: 1 });
    await using capture = await startCapture({ url: server.url, source: { collections: [`${mine}.*`] } });
    await client.db('admin').command({ renameCollection: `${theirs}.x`, to: `${mine}.x` });
    await client.db('admin').command({ renameCollection: `${mine}.x`, to: `${theirs}.y` });
    const records = (await capture.caughtUp()).filter((r) => r.kind !== 'capture');
    const temporary = expect.stringMatching(/^tmp\w+\.renameCollection$/);
    // The server copies it under another name first; going away is only a drop.
    expect(records.map((r) => [r.action, r.object.collection])).toEqual([
      ['create', temporary],
      ['insert', temporary],
      ['rename', temporary],
      ['drop', 'x'],
    ]);
  });

  test('a collection renamed to a captured name or away says that its documents have no records', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.collection('loose').insertOne({ n: 1 });
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.mine`] } });
    await db.collection('loose').rename('mine');
    await db.collection('mine').rename('gone');
    await db
      .collection('gone')
      .aggregate([{ $out: 'mine' }])
      .toArray();
    await db.collection('mine').insertOne({ n: 2 });
    const records = (await capture.caughtUp()).filter((r) => r.kind !== 'capture');
    const came = { documents: 'renamed_without_insert_events' };
    expect(records.map((r) => [r.action, r.object.collection, r.missing])).toEqual([
      ['rename', 'loose', came],
      ['rename', 'mine', { documents: 'renamed_without_delete_events' }],
      ['rename', expect.stringMatching(/^tmp\.agg_out\./), came],
      ['insert', 'mine', undefined],
    ]);
  });

  test('images turned off and on are records, and tell an image that never was from one that has expired', async () => {
    await using server = await provideMongo({
      replicaSet: true,
      fresh: true,
      parameters: { expiredChangeStreamPreImageRemovalJobSleepSecs: 1 },
    });
    await using client = new MongoClient(server.url);
    const db = client.db('shop');
    await db.createCollection('a', ON);
    await db.collection('a').insertOne({ _id: 1 as never, n: 0 });
    await using capture = await startCapture({ url: server.url, source: { collections: ['shop.*'] } });
    expect(
      await capture.record((r) => r.kind === 'schema' && r.action === 'read', 'the definition at the start'),
    ).toMatchObject({
      object: { database: 'shop', collection: 'a' },
      after: ON,
    });
    await db.command({ collMod: 'a', ...OFF });
    await db.collection('a').updateOne({ _id: 1 as never }, { $set: { n: 1 } });
    await db.command({ collMod: 'a', ...ON });
    await capture.caughtUp();
    await capture.stop();
    await server.command({
      setClusterParameter: { changeStreamOptions: { preAndPostImages: { expireAfterSeconds: 1 } } },
    });
    await db.collection('a').updateOne({ _id: 1 as never }, { $set: { n: 2 } });
    const preimages = client.db('config').collection('system.preimages');
    await expect.poll(() => preimages.countDocuments(), { timeout: 60_000 }).toBe(0);
    await capture.start();
    const records = await capture.caughtUp();
    expect(records.filter((r) => r.action === 'modify').map((r) => r.after)).toEqual([OFF, ON]);
    const updates = records.filter((r) => r.action === 'update');
    expect(updates.map((r) => r.missing?.['before'])).toEqual(['image_not_enabled', 'image_expired']);
    expect(updates[1]).toMatchObject({ changed: ['n'], details: { update: { updatedFields: { n: 2 } } } });
  });

  test('with setup: auto images are turned on, also for a collection that is created later', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('old');
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.*`], setup: 'auto' },
    });
    await db.createCollection('late');
    await capture.record(
      (r) => r.action === 'modify' && r.object.collection === 'late',
      'images of the late collection',
    );
    for (const collection of ['old', 'late']) {
      await db.collection(collection).insertOne({ _id: 1 as never });
      await db.collection(collection).deleteOne({ _id: 1 as never });
    }
    const deletes = (await capture.changes()).filter((r) => r.action === 'delete');
    expect(deletes.map((r) => r.before)).toEqual([{ _id: 1 }, { _id: 1 }]);
  });

  test('with scope: database the stream goes on behind dropDatabase and loses nothing', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('a');
    await using capture = await startCapture({
      url: server.url,
      markerDatabase: database.name,
      source: { collections: [`${database.name}.*`], scope: 'database', database: database.name },
    });
    for (let round = 1; round <= 3; round++) {
      await db.collection('a').insertOne({ round });
      await db.dropDatabase();
      await db.collection('a').insertOne({ round: -round });
    }
    const records = await capture.caughtUp();
    const seen = records.filter((r) => r.kind === 'change').map((r) => (r.after as { round: number }).round);
    expect(seen).toEqual([1, -1, 2, -2, 3, -3]);
    expect(records.filter((r) => r.action === 'dropDatabase')).toHaveLength(3);
    expect(capture.log.count('source_waiting')).toBe(0);
    expect(records.filter((r) => r.kind === 'gap')).toEqual([]);
  });
});
