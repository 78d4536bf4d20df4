/** `changetrail/context/sequelize`: carries the current actor into every transaction of Sequelize on PostgreSQL. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToClient } from './pg.ts';

interface SequelizeLike {
  getDialect(): string;
  addHook(hook: 'afterConnect', run: (connection: unknown) => void): unknown;
}

/**
 * Makes a Sequelize instance on PostgreSQL carry the current actor, and returns it. Call it before the first query.
 *
 * @throws TypeError when it is for another database, and from the first query for `native: true`.
 * @example
 * const sequelize = attachActor(new Sequelize(url));
 */
export function attachActor<T extends object>(sequelize: T, options: AttachOptions = {}): T {
  const instance = sequelize as T & SequelizeLike;
  if (instance.getDialect() !== 'postgres') throw new TypeError('changetrail: this Sequelize is not for PostgreSQL.');
  instance.addHook('afterConnect', (connection) => {
    attachToClient(connection as object, options);
  });
  return sequelize;
}
