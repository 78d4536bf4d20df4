/** `changetrail/context/drizzle`: carries the current actor into every transaction of Drizzle on `pg`. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToPool } from './pg.ts';

/**
 * Makes a Drizzle database on `node-postgres` carry the current actor, and returns it. For Drizzle on postgres.js make `sql`
 * carry it, with `changetrail/context/postgres`, and give that to `drizzle`.
 *
 * @throws TypeError when the database is not on a `pg` pool or client.
 * @example
 * const db = attachActor(drizzle(url));
 */
export function attachActor<T extends object>(db: T, options: AttachOptions = {}): T {
  const client = (db as { $client?: unknown }).$client;
  if (typeof client !== 'object' || client === null) {
    throw new TypeError(
      'changetrail: this database is not on pg. On postgres.js: drizzle(attachActor(sql)) with changetrail/context/postgres.',
    );
  }
  attachToPool(client, options);
  return db;
}
