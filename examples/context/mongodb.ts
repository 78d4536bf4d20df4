import { MongoClient } from 'mongodb';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { transaction } from '../../src/context/mongodb.ts'; // 'changetrail/context/mongodb'

export async function addItem(url: string): Promise<void> {
  const client = new MongoClient(url);
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    transaction(client, (session) => client.db().collection('item').insertOne({ name: 'apple' }, { session })),
  );
  await client.close();
}
