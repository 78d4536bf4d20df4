import { type Collection, type Document, MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { oplogView } from '../../connectors/mongodb/setup.ts';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { until } from '../support/wait.ts';
import { type AuditRecord, startCapture } from './support/capture.ts';

/** One that leaves out what does not fit, and one that delivers it in pieces. */
const GUARDED = '6.0.5';
const SPLITTING = '6.0.27';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const MB = 1024 * 1024;
const ON = { changeStreamPreAndPostImages: { enabled: true } };

/** What there is of a record, without its bulk. */
const outline = (r: AuditRecord) => ({
  action: r.action,
  key: (r.object.key as Document)['_id'],
  before: r.before === undefined ? 0 : JSON.stringify(r.before).length > 100 ? 'large' : 'small',
  after: r.after === undefined ? 0 : JSON.stringify(r.after).length > 100 ? 'large' : 'small',
  missing: r.missing,
});

/** Large documents between small ones, written, changed, replaced and deleted. */
async function writeLarge(a: Collection<{ _id: number | string }>): Promise<void> {
  await a.insertOne({ _id: 'n1' });
  await a.insertOne({ _id: 1, big: 'x'.repeat(9 * MB) } as Document as never);
  await a.insertOne({ _id: 'n2' });
  await a.updateOne({ _id: 1 }, { $set: { small: 1 } } as Document);
  await a.updateOne({ _id: 'n2' }, { $set: { n: 1 } } as Document);
  await a.replaceOne({ _id: 1 }, { big: 'y'.repeat(9 * MB) } as Document);
  await a.updateOne({ _id: 1 }, { $set: { big: 'z'.repeat(9 * MB) } } as Document);
  await a.deleteOne({ _id: 1 });
  await a.insertOne({ _id: 2, full: 'f'.repeat(16 * MB - 30) } as Document as never);
  await a.deleteOne({ _id: 2 });
  await a.insertOne({ _id: 'n3' });
}

describe.skipIf(await mongoMissing(GUARDED))('events larger than 16 MB, on a server that cannot split them', () => {
  test('lose the image that does not fit, say so, and take no neighbour with them', async () => {
    const server = await provideMongo({ replicaSet: true, version: GUARDED });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a', ON);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await writeLarge(client.db(database.name).collection('a'));
    expect((await capture.changes('a')).map(outline)).toEqual([
      { action: 'insert', key: 'n1', before: 0, after: 'small', missing: undefined },
      { action: 'insert', key: 1, before: 0, after: 'large', missing: undefined },
      { action: 'insert', key: 'n2', before: 0, after: 'small', missing: undefined },
      { action: 'update', key: 1, before: 'large', after: 0, missing: { after: 'too_large' } },
      { action: 'update', key: 'n2', before: 'small', after: 'small', missing: undefined },
      { action: 'replace', key: 1, before: 0, after: 'large', missing: { before: 'too_large' } },
      { action: 'update', key: 1, before: 0, after: 0, missing: { before: 'too_large', after: 'too_large' } },
      { action: 'delete', key: 1, before: 'large', after: 0, missing: undefined },
      { action: 'insert', key: 2, before: 0, after: 'large', missing: undefined },
      { action: 'delete', key: 2, before: 'large', after: 0, missing: undefined },
      { action: 'insert', key: 'n3', before: 0, after: 'small', missing: undefined },
    ]);
    // The guard is put in with the first one, and stays.
    expect(capture.log.count('event_too_large')).toBe(1);
  });

  test('where the guard in the pipeline does not help, the stream is opened again with less in it and never loops', async () => {
    const server = await provideMongo({ replicaSet: true, version: GUARDED });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a', ON);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    const a = client.db(database.name).collection<Document>('a');
    // The guard adds up images and description; a key this long, which the event also has twice in its token, comes on top.
    const key = 'k'.repeat(100_000);
    await a.insertOne({ _id: 'n1' as never, n: 1 });
    await a.insertOne({ _id: key as never, big: 'x'.repeat(8 * MB - 150_000) });
    await a.updateOne({ _id: 'n1' as never }, { $set: { n: 2 } });
    await a.updateOne({ _id: key as never }, { $set: { small: 1 } });
    await a.updateOne({ _id: 'n1' as never }, { $set: { n: 3 } });
    await a.updateOne({ _id: key as never }, { $set: { big: 'y'.repeat(16 * MB - 200_000) } });
    await a.updateOne({ _id: 'n1' as never }, { $set: { n: 4 } });
    const both = { before: 'too_large', after: 'too_large' };
    const update = { action: 'update', before: 'small', after: 'small', missing: undefined };
    expect((await capture.changes('a')).map(outline)).toEqual([
      { action: 'insert', key: 'n1', before: 0, after: 'small', missing: undefined },
      { action: 'insert', key, before: 0, after: 'large', missing: undefined },
      { ...update, key: 'n1' },
      { action: 'update', key, before: 0, after: 0, missing: both },
      { ...update, key: 'n1' },
      { action: 'update', key, before: 0, after: 0, missing: { ...both, changed: 'too_large' } },
      { ...update, key: 'n1' },
    ]);
    const partial = capture.records().filter((r) => r.missing?.['after'] === 'too_large');
    expect(partial[0]).toMatchObject({ changed: ['small'], details: { update: { updatedFields: { small: 1 } } } });
    expect(capture.log.count('event_too_large')).toBeLessThanOrEqual(7);
    expect(capture.log.count('source_waiting')).toBe(0);
  });
});

describe.skipIf(await mongoMissing(SPLITTING))('events larger than 16 MB, on a server that splits them', () => {
  test('are put together from their pieces: nothing is missing', async () => {
    const server = await provideMongo({ replicaSet: true, version: SPLITTING });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a', ON);
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await writeLarge(client.db(database.name).collection('a'));
    const complete = { missing: undefined };
    expect((await capture.changes('a')).map(outline)).toEqual([
      { action: 'insert', key: 'n1', before: 0, after: 'small', ...complete },
      { action: 'insert', key: 1, before: 0, after: 'large', ...complete },
      { action: 'insert', key: 'n2', before: 0, after: 'small', ...complete },
      { action: 'update', key: 1, before: 'large', after: 'large', ...complete },
      { action: 'update', key: 'n2', before: 'small', after: 'small', ...complete },
      { action: 'replace', key: 1, before: 'large', after: 'large', ...complete },
      { action: 'update', key: 1, before: 'large', after: 'large', ...complete },
      { action: 'delete', key: 1, before: 'large', after: 0, ...complete },
      { action: 'insert', key: 2, before: 0, after: 'large', ...complete },
      { action: 'delete', key: 2, before: 'large', after: 0, ...complete },
      { action: 'insert', key: 'n3', before: 0, after: 'small', ...complete },
    ]);
    expect(capture.log.count('event_too_large')).toBe(0);
  });

  test('in the middle of a transaction keep its actor, its ordinals and the way back after a kill', async () => {
    const server = await provideMongo({ replicaSet: true, version: SPLITTING });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    const db = client.db(database.name);
    await db.createCollection('a', ON);
    await db.createCollection('_changetrail_context');
    const a = db.collection<Document>('a');
    await a.insertOne({ _id: 1 as never, big: 'x'.repeat(9 * MB) });
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.*`], batch_size: 1 },
    });
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await db.collection<Document>('_changetrail_context').insertOne({ id: 'alice' }, { session });
        await a.insertOne({ _id: 'n1' as never }, { session });
        await a.updateOne({ _id: 1 as never }, { $set: { small: 1 } }, { session });
        await a.insertOne({ _id: 'n2' as never }, { session });
        await a.insertOne({ _id: 'n3' as never }, { session });
      }),
    );
    await capture.record((r) => (r.object.key as Document | undefined)?.['_id'] === 'n1', 'the first record');
    await capture.abort();
    await capture.start();
    const changes = (await capture.changes('a')).filter((r) => r.source.tx !== undefined);
    expect(changes.map((r) => [outline(r).key, r.source.seq, r.actor?.id])).toEqual([
      ['n1', 1, 'alice'],
      [1, 2, 'alice'],
      ['n2', 3, 'alice'],
      ['n3', 4, 'alice'],
    ]);
    expect(outline(changes[1]!)).toMatchObject({ before: 'large', after: 'large', missing: undefined });
  });

  test('have the user of their writer, also when their last piece comes by itself', async () => {
    await using server = await provideMongo({ replicaSet: true, auth: true, fresh: true, version: SPLITTING });
    await using root = new MongoClient(server.url);
    await root.db('shop').createCollection('a', ON);
    await root.db('local').command(oplogView('changetrail_oplog').command);
    await using capture = await startCapture({ url: server.url, source: { collections: ['shop.*'] } });
    const a = root.db('shop').collection<Document>('a');
    await a.insertOne({ _id: 1 as never, big: 'x'.repeat(9 * MB) });
    for (let n = 1; n <= 3; n++) {
      await a.updateOne({ _id: 1 as never }, { $set: { n } });
      const record = await capture.record(
        (r) => r.action === 'update' && (r.after as { n: number }).n === n,
        'the record in pieces',
      );
      expect(record.actor).toMatchObject({ assurance: 'verified', via: 'lsid', db_user: 'root@admin' });
    }
  });

  test('with a piece that is too large itself lose what no piece can hold, and nothing of their neighbours', async () => {
    const server = await provideMongo({ replicaSet: true, version: SPLITTING });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a', ON);
    const a = client.db(database.name).collection<Document>('a');
    // Each piece has the event's token twice, and that has the key.
    const key = 'k'.repeat(100_000);
    await a.insertOne({ _id: 1 as never, big: 'x'.repeat(9 * MB) });
    await a.insertOne({ _id: key as never, big: 'x'.repeat(8 * MB) });
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    await a.updateOne({ _id: 1 as never }, { $set: { n: 1 } });
    await a.updateOne({ _id: key as never }, { $set: { big: 'y'.repeat(16 * MB - 200_000) } });
    await a.updateOne({ _id: 1 as never }, { $set: { n: 2 } });
    await a.insertOne({ _id: 'n1' as never });
    const pieces = { action: 'update', key: 1, before: 'large', after: 'large', missing: undefined };
    expect((await capture.changes('a')).map(outline)).toEqual([
      pieces,
      { action: 'update', key, before: 'large', after: 0, missing: { after: 'too_large', changed: 'too_large' } },
      pieces,
      { action: 'insert', key: 'n1', before: 0, after: 'small', missing: undefined },
    ]);
    // The guard is put in with the first one, and stays.
    expect(capture.log.count('event_too_large')).toBe(1);
    expect(capture.log.count('source_waiting')).toBe(0);
  });
});

describe.each([GUARDED, SPLITTING])('a key that no reply can hold, on %s', async (version) => {
  test.skipIf(await mongoMissing(version))('is passed over with a gap record, and stops nothing', async () => {
    const server = await provideMongo({ replicaSet: true, version });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('a');
    const a = client.db(database.name).collection<{ _id: string; text?: string }>('a');
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    const gaps = () => capture.records().filter((r) => r.kind === 'gap');
    const long = 'l'.repeat(2.5 * MB);
    // The one behind it is as good as ever, or without what does not fit beside its key. None: the reply has its token once more.
    const rounds = [
      { mb: 5, behind: { _id: 'behind 0', text: 'small' } },
      { mb: 4, behind: { _id: long, text: 'x'.repeat(5 * MB) } },
      { mb: 3.5, behind: null },
    ];
    for (const [round, { mb, behind }] of rounds.entries()) {
      await a.insertOne({ _id: `before ${round}` });
      await a.insertOne({ _id: 'k'.repeat(mb * MB) });
      if (behind !== null) await a.insertOne(behind);
      await until(() => gaps().length > round, { what: 'the gap record', timeoutMs: 60_000 });
    }
    await capture.stop();
    await capture.start();
    await a.insertOne({ _id: 'last' });
    const insert = { action: 'insert', before: 0, after: 'small', missing: undefined };
    expect((await capture.changes('a')).map(outline)).toEqual([
      { ...insert, key: 'before 0' },
      { ...insert, key: 'behind 0' },
      { ...insert, key: 'before 1' },
      { ...insert, key: long, after: 0, missing: { after: 'too_large' } },
      { ...insert, key: 'before 2' },
      { ...insert, key: 'last' },
    ]);
    expect(gaps().map((r) => r['details'])).toMatchObject(Array(3).fill({ cause: 'event_undeliverable' }));
    for (const gap of gaps()) {
      const { from, to } = gap['details'] as { from: string; to: string };
      expect(Number(from)).toBeLessThanOrEqual(Number(to));
    }
  });
});
