import { defineEntity, MikroORM, p } from '@mikro-orm/postgresql';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/mikro-orm.ts'; // 'changetrail/context/mikro-orm'

const Item = defineEntity({ name: 'item', properties: { name: p.text().primary() } });

export async function addItem(url: string): Promise<void> {
  const orm = await attachActor(await MikroORM.init({ clientUrl: url, entities: [Item] }));
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () =>
    orm.em.fork().insert(Item, { name: 'apple' }),
  );
  await orm.close();
}
