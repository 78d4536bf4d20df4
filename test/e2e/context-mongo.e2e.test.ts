import { generateKeyPairSync } from 'node:crypto';
import { MongoClient } from 'mongodb';
import mongoose from 'mongoose';
import { expect, test } from 'vitest';
import { createSigner, withActor } from '../../src/context/index.ts';
import { attachActor, transaction } from '../../src/context/mongodb.ts';
import { attachActor as attachMongoose } from '../../src/context/mongoose.ts';
import { startCapture } from '../mongo/support/capture.ts';
import { provideMongo } from '../support/provide.ts';

test('what the MongoDB helpers say arrives: claimed, verified when signed, each with its own transaction', async () => {
  const server = await provideMongo({ replicaSet: true });
  await using database = server.createDatabase();
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = publicKey.export({ type: 'spki', format: 'pem' }) as string;
  await using capture = await startCapture({
    url: database.url,
    source: { collections: [`${database.name}.*`] },
    configuration: { actors: { claims: { keys: [{ id: 'shop', algorithm: 'EdDSA', key }] } } },
  });
  await using client = await new MongoClient(database.url).connect();
  const items = client.db().collection<{ name: string }>('item');
  const reason = 'Zoë asked, ticket 881';

  await withActor({ id: 'alice', type: 'user', reason, $odd: { 'a.b': 1 } }, () =>
    transaction(client, (session) => items.insertOne({ name: 'claimed' }, { session })),
  );
  const signer = createSigner({ keyId: 'shop', privateKey, audience: 'docs' });
  await using signing = attachActor(new MongoClient(database.url), { signer });
  await withActor({ id: 'bob', type: 'support', reason }, () =>
    transaction(signing, (session) => signing.db().collection('item').insertOne({ name: 'verified' }, { session })),
  );
  await items.insertOne({ name: 'none' });
  const connection = await attachMongoose(mongoose.createConnection(database.url));
  const Item = connection.model('item', new mongoose.Schema({ name: String, of: String }), 'item');
  await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      withActor({ id: `user-${n}` }, () =>
        connection.transaction((session) => Item.create([{ name: 'many', of: `user-${n}` }], { session })),
      ),
    ),
  );
  await connection.close();

  const records = await capture.changes('item');
  const named = (name: string) => records.filter(({ after }) => (after as { name: string }).name === name);
  expect(named('claimed')[0]?.actor).toMatchObject({ id: 'alice', type: 'user', assurance: 'claimed' });
  expect(named('claimed')[0]?.context).toMatchObject({ reason });
  expect(named('verified')[0]?.actor).toMatchObject({ id: 'bob', type: 'support', assurance: 'verified' });
  expect(named('verified')[0]?.context).toEqual({ reason });
  expect(named('none')[0]?.actor).toMatchObject({ assurance: 'none' });
  expect(named('many')).toHaveLength(30);
  for (const { actor, after } of named('many')) expect(actor).toMatchObject({ id: (after as { of: string }).of });
  // The context documents themselves are no records.
  expect(new Set(records.map(({ object }) => object.collection))).toEqual(new Set(['item']));
});
