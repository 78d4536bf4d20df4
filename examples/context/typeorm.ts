import { DataSource, EntitySchema } from 'typeorm';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/typeorm.ts'; // 'changetrail/context/typeorm'

const Item = new EntitySchema<{ name: string }>({
  name: 'item',
  columns: { name: { type: 'text', primary: true } },
});

export async function addItem(url: string): Promise<void> {
  const db = attachActor(await new DataSource({ type: 'postgres', url, entities: [Item] }).initialize());
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    db.getRepository(Item).save({ name: 'apple' }),
  );
  await db.destroy();
}
