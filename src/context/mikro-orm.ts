/** `changetrail/context/mikro-orm`: carries the current actor into every transaction of MikroORM on PostgreSQL. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToPool } from './pg.ts';

interface OrmLike {
  readonly em: { getConnection(): { getNativeClient?(): Promise<object> } };
}

/**
 * Makes a MikroORM instance on PostgreSQL (version 7) carry the current actor, and returns it.
 *
 * @throws TypeError when it is for another database.
 * @example
 * const orm = await attachActor(await MikroORM.init({ clientUrl: url, entities }));
 */
export async function attachActor<T extends object>(orm: T, options: AttachOptions = {}): Promise<T> {
  const connection = (orm as T & OrmLike).em.getConnection();
  const pool = await connection.getNativeClient?.();
  if (pool === undefined) throw new TypeError('changetrail: this MikroORM is not for PostgreSQL.');
  attachToPool(pool, options);
  return orm;
}
