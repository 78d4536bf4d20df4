/** `changetrail/context/kysely`: carries the current actor into every transaction of Kysely on `pg`. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToPool } from './pg.ts';

/**
 * Makes the configuration of a `PostgresDialect` carry the current actor, and returns it. For a dialect on postgres.js make
 * `sql` carry it, with `changetrail/context/postgres`.
 *
 * @throws TypeError when the pool is not one of `pg`; from the first query when the configuration has a function for it.
 * @example
 * const db = new Kysely<Tables>({ dialect: new PostgresDialect(attachActor({ pool: new Pool({ connectionString }) })) });
 */
export function attachActor<T extends { readonly pool: object }>(config: T, options: AttachOptions = {}): T {
  const { pool } = config;
  if (typeof pool !== 'function') {
    attachToPool(pool, options);
    return config;
  }
  const open = pool as () => Promise<object>;
  return { ...config, pool: async () => attachToPool(await open(), options) };
}
