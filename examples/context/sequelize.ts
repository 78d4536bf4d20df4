import { DataTypes, Sequelize } from 'sequelize';
import { withActor } from '../../src/context/index.ts'; // In an application: 'changetrail/context'
import { attachActor } from '../../src/context/sequelize.ts'; // 'changetrail/context/sequelize'

const columns = { name: { type: DataTypes.TEXT, primaryKey: true } };

export async function addItem(url: string): Promise<void> {
  const db = attachActor(new Sequelize(url, { logging: false }));
  const Item = db.define('item', columns, { tableName: 'item', timestamps: false });
  await withActor({ id: 'alice@example.com', type: 'user', request_id: 'r-9' }, () => Item.create({ name: 'apple' }));
  await db.close();
}
