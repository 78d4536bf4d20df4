import knex from 'knex';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/knex.ts'; // 'changetrail/context/knex'

export async function addItem(url: string): Promise<void> {
  const db = attachActor(knex({ client: 'pg', connection: url }));
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, async () =>
    db('item').insert({ name: 'apple' }),
  );
  await db.destroy();
}
