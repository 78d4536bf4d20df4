import { MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { startCapture } from './support/capture.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

describe.skipIf(await mongoMissing())('capture from MongoDB', () => {
  test('insert, update, replace and delete are records with key, changed paths, before and after', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(database.url);
    const db = client.db(database.name);
    await db.createCollection('users', { changeStreamPreAndPostImages: { enabled: true } });
    await using capture = await startCapture({ url: server.url, source: { collections: [`${database.name}.*`] } });
    const users = db.collection<{ _id: number }>('users');
    await users.insertOne({ _id: 1, name: 'a', address: { city: 'Bern' }, tags: ['x', 'y'] } as never);
    await users.updateOne({ _id: 1 }, {
      $set: { 'address.city': 'Basel', 'tags.1': 'z' },
      $unset: { name: 1 },
    } as never);
    await users.replaceOne({ _id: 1 }, { other: true } as never);
    await users.deleteOne({ _id: 1 });
    const changes = await capture.changes('users');
    expect(changes.map((r) => r.action)).toEqual(['insert', 'update', 'replace', 'delete']);
    const [insert, update, replace, remove] = changes;
    expect(insert).toMatchObject({
      object: { database: database.name, collection: 'users', key: { _id: 1 } },
      after: { _id: 1, name: 'a', address: { city: 'Bern' }, tags: ['x', 'y'] },
      actor: { assurance: 'none' },
      outcome: 'success',
    });
    expect(insert).not.toHaveProperty('before');
    expect(update).toMatchObject({
      changed: ['address.city', 'tags.1', 'name'],
      before: { name: 'a', address: { city: 'Bern' } },
      after: { _id: 1, address: { city: 'Basel' }, tags: ['x', 'z'] },
    });
    expect(replace).toMatchObject({ changed: ['other', 'address', 'tags'], after: { _id: 1, other: true } });
    expect(remove).toMatchObject({ before: { _id: 1, other: true } });
    expect(remove).not.toHaveProperty('after');
    expect(changes.every((r) => r.missing === undefined)).toBe(true);
    expect(insert!.id).toBe(`docs:${insert!.source.ts}:0`);
    expect(new Set(changes.map((r) => r.source.ts)).size).toBe(4);
  });
});
