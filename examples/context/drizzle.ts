import { drizzle } from 'drizzle-orm/node-postgres';
import { pgTable, text } from 'drizzle-orm/pg-core';
import { attachActor } from '../../src/context/drizzle.ts'; // In an application: 'changetrail/context/drizzle'
import { withActor } from '../../src/context/index.ts'; // 'changetrail/context'

const item = pgTable('item', { name: text().primaryKey() });

export async function addItem(url: string): Promise<void> {
  const db = attachActor(drizzle(url));
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    db.insert(item).values({ name: 'apple' }),
  );
  await db.$client.end();
}
