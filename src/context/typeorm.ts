/** `changetrail/context/typeorm`: carries the current actor into every transaction of TypeORM on PostgreSQL. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToPool } from './pg.ts';

/**
 * Makes an initialized TypeORM data source on PostgreSQL carry the current actor, and returns it.
 *
 * @throws TypeError when it is not initialized, or for another database.
 * @example
 * const db = attachActor(await new DataSource({ type: 'postgres', url, entities }).initialize());
 */
export function attachActor<T extends { readonly driver: object }>(dataSource: T, options: AttachOptions = {}): T {
  const pool = (dataSource.driver as { master?: object }).master;
  if (pool === undefined) {
    throw new TypeError(
      'changetrail: the data source is for PostgreSQL, and initialized: await dataSource.initialize().',
    );
  }
  attachToPool(pool, options);
  return dataSource;
}
