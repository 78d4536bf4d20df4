import mongoose from 'mongoose';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/mongoose.ts'; // 'changetrail/context/mongoose'

export async function addItem(url: string): Promise<void> {
  const connection = await attachActor(mongoose.createConnection(url));
  const Item = connection.model('item', new mongoose.Schema({ name: String }));
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    connection.transaction((session) => Item.create([{ name: 'apple' }], { session })),
  );
  await connection.close();
}
