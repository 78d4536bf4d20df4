import fc from 'fast-check';
import { Binary, BSON, type Document, Long, MongoClient, ObjectId } from 'mongodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { bsonOf } from '../support/extended-json.ts';
import type { MongoServer } from '../support/provide.ts';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { bsonDocument } from '../support/random-bson.ts';
import { type Capture, startCapture } from './support/capture.ts';
import { insertRaw } from './support/raw-wire.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

describe.skipIf(await mongoMissing())('documents of all kinds', () => {
  let server: MongoServer;
  let client: MongoClient;
  let capture: Capture;
  let name: string;

  beforeAll(async () => {
    server = await provideMongo({ replicaSet: true });
    name = server.createDatabase().name;
    client = new MongoClient(server.url);
    await client.db(name).createCollection('images', { changeStreamPreAndPostImages: { enabled: true } });
    await client.db(name).createCollection('plain');
    capture = await startCapture({ url: server.url, source: { collections: [`${name}.*`] } });
  });
  afterAll(async () => {
    await capture?.[Symbol.asyncDispose]();
    await client?.db(name).dropDatabase();
    await client?.close();
  });
  const collection = (which: string) => client.db(name).collection<Document>(which);

  test('random documents of all types come back as the same BSON bytes', async () => {
    const documents = fc.sample(bsonDocument, 300).map((random, i) => wrapped(i, random));
    await insertRaw(server, name, 'images', documents);
    const changes = (await capture.changes('images')).filter((r) => r.action === 'insert');
    expect(changes).toHaveLength(documents.length);
    for (const [i, record] of changes.entries()) expect(bsonOf(record.after).equals(documents[i]!)).toBe(true);
  });

  test('text that is not UTF-8 is replaced and said, by its path', async () => {
    const broken = document([
      Buffer.from('\x10_id\0\x01\0\0\0', 'latin1'),
      Buffer.from('\x02na\xffme\0\x03\0\0\0a\xfe\0', 'latin1'),
      Buffer.from('\x02ok\0\x02\0\0\0a\0', 'latin1'),
    ]);
    await insertRaw(server, name, 'plain', [broken]);
    const [record] = await capture.changes('plain');
    expect(record).toMatchObject({
      after: { 'na\ufffdme': 'a\ufffd', ok: 'a' },
      missing: { 'after.na\ufffdme': 'invalid_utf8' },
    });
  });

  test('keys with dots, dollars, nothing in them, and twice the same are kept', async () => {
    const id = new ObjectId();
    await collection('images').insertOne({ _id: id, 'a.b': 1, '': 2, $c: 3, __proto__x: 4, nested: { $oid: 'x' } });
    const record = (await capture.changes('images')).findLast((r) => r.action === 'insert')!;
    expect(record.after).toEqual({
      $literal: [
        ['_id', { $oid: id.toHexString() }],
        ['a.b', 1],
        ['', 2],
        ['$c', 3],
        ['__proto__x', 4],
        ['nested', { $literal: [['$oid', 'x']] }],
      ],
    });
  });

  test('documents nested 100 deep and large keys of any type are recorded', async () => {
    let deep: Document = { end: true };
    for (let i = 0; i < 99; i++) deep = { d: deep };
    const key = { region: 'x', at: Long.fromString('9007199254740993'), raw: new Binary(Buffer.from([1, 2])) };
    await collection('images').insertOne({ _id: key, deep } as Document);
    await collection('images').deleteOne({ _id: key } as Document);
    const changes = (await capture.changes('images')).slice(-2);
    expect(changes.map((r) => r.action)).toEqual(['insert', 'delete']);
    const expected = {
      _id: {
        region: 'x',
        at: { $numberLong: '9007199254740993' },
        raw: { $binary: { base64: 'AQI=', subType: '00' } },
      },
    };
    expect(changes[0]!.object.key).toEqual(expected);
    expect(changes[1]!.object.key).toEqual(expected);
    expect(bsonOf(changes[0]!.after).equals(Buffer.from(BSON.serialize({ _id: key, deep })))).toBe(true);
  });

  test('without images the update’s own words are kept, and what is missing is said', async () => {
    await collection('plain').insertOne({
      _id: 'p' as never,
      a: { b: 1, filler: 'x'.repeat(99) },
      list: [1, 2, 3, 4, 5, 6, 7, 8, 9],
      gone: 1,
    });
    await collection('plain').updateOne({ _id: 'p' as never }, [
      { $set: { 'a.b': 2, list: { $slice: ['$list', 7] } } },
      { $unset: 'gone' },
    ]);
    await collection('plain').deleteOne({ _id: 'p' as never });
    const [insert, update, remove] = (await capture.changes('plain')).slice(-3);
    expect(insert!.after).toMatchObject({ a: { b: 1 } });
    expect(update).toMatchObject({
      missing: { before: 'image_not_enabled', after: 'image_not_enabled', changed: 'dots_ambiguous' },
      details: {
        update: {
          updatedFields: { 'a.b': 2 },
          removedFields: ['gone'],
          truncatedArrays: [{ field: 'list', newSize: 7 }],
        },
      },
    });
    expect(update!.changed).toEqual(['a.b', 'gone', 'list']);
    expect(update).not.toHaveProperty('after');
    expect(remove).toMatchObject({ missing: { before: 'image_not_enabled' } });
  });

  test('a field named a.b and the path a.b are told apart by the images', async () => {
    const images = collection('images');
    await images.insertOne({
      _id: 'dots' as never,
      a: { b: 1 },
      'a.b': 1,
      x: { 'y.z': 1, filler: 'x'.repeat(99) },
      list: [{ q: 1 }],
    });
    const set = (field: string, value: number) =>
      images.updateOne({ _id: 'dots' as never }, [{ $replaceWith: { $setField: { field, input: '$$ROOT', value } } }]);
    await images.updateOne({ _id: 'dots' as never }, { $set: { 'a.b': 2 } });
    await set('a.b', 3);
    await images.updateOne({ _id: 'dots' as never }, [
      { $set: { x: { $setField: { field: 'y.z', input: '$x', value: 5 } } } },
    ]);
    await images.updateOne({ _id: 'dots' as never }, { $set: { 'list.0.q': 2 } });
    await set('p.q', 1);
    await images.updateOne({ _id: 'dots' as never }, [
      { $replaceWith: { $setField: { field: { $literal: '$p' }, input: '$$ROOT', value: 1 } } },
    ]);
    const changes = (await capture.changes('images')).slice(-6);
    expect(changes.map((r) => r.changed)).toEqual([['a.b'], ['a\\.b'], ['x.y\\.z'], ['list.0.q'], ['p\\.q'], ['\\$p']]);
    expect(changes.every((r) => r.missing === undefined)).toBe(true);
  });
});

/** `{ _id: i, v: random }`. */
function wrapped(i: number, random: Buffer): Buffer {
  const id = Buffer.from('\x10_id\0\0\0\0\0', 'latin1');
  id.writeInt32LE(i, 5);
  return document([id, Buffer.from('\x03v\0', 'latin1'), random]);
}

function document(elements: readonly Buffer[]): Buffer {
  const body = Buffer.concat([...elements, Buffer.from([0])]);
  const size = Buffer.alloc(4);
  size.writeInt32LE(body.length + 4);
  return Buffer.concat([size, body]);
}
