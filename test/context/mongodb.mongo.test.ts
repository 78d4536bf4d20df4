import { MongoClient } from 'mongodb';
import mongoose from 'mongoose';
import { expect, test } from 'vitest';
import { addItem as addWithDriver } from '../../examples/context/mongodb.ts';
import { addItem as addWithMongoose } from '../../examples/context/mongoose.ts';
import { parseClaim } from '../../src/context/claim.ts';
import { createSigner, withActor } from '../../src/context/index.ts';
import { announceActor, attachActor, transaction } from '../../src/context/mongodb.ts';
import { attachActor as attachMongoose } from '../../src/context/mongoose.ts';
import { type WatchedDatabase, watchedDatabase, whoInserted } from './support/change-stream.ts';

const alice = { id: 'alice', type: 'user' };
const bob = { id: 'bob' };

function it(name: string, run: (database: WatchedDatabase) => Promise<void>): void {
  test(name, async () => {
    await using database = await watchedDatabase();
    await run(database);
  });
}

it('the context document comes first in the transaction and leaves nothing behind', async (database) => {
  const { client } = database;
  const items = client.db().collection('item');
  const result = await withActor({ ...alice, reason: 'ticket', n: 7, nested: { $where: 1, 'a.b': [null] } }, () =>
    transaction(client, (session) => items.insertOne({ name: 'a' }, { session })),
  );
  expect(result.acknowledged).toBe(true);
  const changes = await database.changes();
  expect(changes.map(({ operation, collection }) => `${operation} ${collection}`)).toEqual([
    'insert _changetrail_context',
    'delete _changetrail_context',
    'insert item',
  ]);
  expect(new Set(changes.map(({ transaction: id }) => id)).size).toBe(1);
  expect(changes[0]?.document).toMatchObject({
    ...alice,
    reason: 'ticket',
    n: 7,
    nested: { $where: 1, 'a.b': [null] },
  });
  expect(await client.db().collection('_changetrail_context').countDocuments()).toBe(0);
});

it('every key an application can think of is taken', async (database) => {
  const hostile = JSON.parse(
    '{"id":"\\u0000\\ud800","__proto__":{"a":1},"_id":"mine","$set":1,"a\\u0000b":{"\\u0000":1},"":2}',
  );
  await withActor(hostile, () =>
    transaction(database.client, (session) =>
      database.client.db().collection('item').insertOne({ name: 'a' }, { session }),
    ),
  );
  const [context] = await database.changes();
  expect(context?.document).toMatchObject({ $set: 1, '': 2, truncated: ['_id'] });
  expect(context?.document['_id']).not.toBe('mine');
});

it('an attached client carries the actor with withTransaction, and says a change of actor on request', async (database) => {
  await using client = attachActor(attachActor(new MongoClient(database.url)));
  const items = client.db().collection('item');
  await withActor(alice, () =>
    client.withSession((session) =>
      session.withTransaction(async () => {
        await items.insertOne({ name: 'a' }, { session });
        await withActor(bob, () => announceActor(client.db(), session));
        await items.insertOne({ name: 'b' }, { session });
      }),
    ),
  );
  await withActor(alice, () => transaction(client, (session) => items.insertOne({ name: 'c' }, { session })));
  await transaction(client, (session) => items.insertOne({ name: 'd' }, { session }));
  const changes = await database.changes();
  expect(whoInserted(changes, 'item')).toEqual([
    { name: 'a', actor: 'alice' },
    { name: 'b', actor: 'bob' },
    { name: 'c', actor: 'alice' },
    { name: 'd', actor: null },
  ]);
  expect(changes.filter(({ collection, operation }) => operation === 'insert' && collection !== 'item')).toHaveLength(
    3,
  );
});

it('a transaction that is aborted or tried again says who acts each time', async (database) => {
  const { client } = database;
  const counters = client.db().collection<{ _id: string; n: number }>('counter');
  const items = client.db().collection('item');
  await counters.insertOne({ _id: 'c', n: 0 });
  await expect(
    withActor(alice, () =>
      transaction(client, async (session) => {
        await items.insertOne({ name: 'gone' }, { session });
        throw new TypeError('no');
      }),
    ),
  ).rejects.toThrow('no');
  // All of them write the same document, so most are tried again by the driver.
  await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      withActor({ id: `user-${n}` }, () =>
        transaction(client, async (session) => {
          await counters.updateOne({ _id: 'c' }, { $inc: { n: 1 } }, { session });
          await items.insertOne({ name: `user-${n}` }, { session });
        }),
      ),
    ),
  );
  const inserted = whoInserted(await database.changes(), 'item');
  expect(inserted).toHaveLength(20);
  for (const { name, actor } of inserted) expect(actor).toBe(name);
});

it('signed documents hold a claim and nothing else', async (database) => {
  const signer = createSigner({ keyId: 'k', secret: Buffer.alloc(32, 7) });
  const { client } = database;
  await withActor(alice, () =>
    transaction(client, (session) => client.db().collection('item').insertOne({ name: 'a' }, { session }), { signer }),
  );
  const [context] = await database.changes();
  expect(Object.keys(context?.document ?? {}).sort()).toEqual(['_id', 'claim']);
  expect(parseClaim(context?.document['claim'])?.payload.actor).toEqual(alice);
});

it('an attached mongoose connection carries the actor with transaction, also without passing the session', async (database) => {
  mongoose.set('transactionAsyncLocalStorage', true);
  const connection = await attachMongoose(mongoose.createConnection(database.url));
  const Item = connection.model('item', new mongoose.Schema({ name: String }), 'item');
  await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      withActor({ id: `user-${n}` }, () => connection.transaction(() => new Item({ name: `user-${n}` }).save())),
    ),
  );
  await connection.transaction(() => new Item({ name: 'null' }).save());
  await connection.close();
  const inserted = whoInserted(await database.changes(), 'item');
  expect(inserted).toHaveLength(21);
  for (const { name, actor } of inserted) expect(String(actor)).toBe(name);
});

it('the examples run', async (database) => {
  await addWithDriver(database.url);
  await addWithMongoose(database.url);
  const changes = await database.changes();
  expect(whoInserted(changes, 'item')).toEqual([{ name: 'apple', actor: 'alice@example.com' }]);
  expect(whoInserted(changes, 'items')).toEqual([{ name: 'apple', actor: 'alice@example.com' }]);
});
