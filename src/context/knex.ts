/** `changetrail/context/knex`: carries the current actor into every transaction of Knex on `pg`. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToClient } from './pg.ts';

interface KnexClient {
  readonly dialect?: string;
  acquireConnection(): Promise<object>;
}

/**
 * Makes a Knex instance on PostgreSQL (`client: 'pg'`) carry the current actor, and returns it.
 *
 * @throws TypeError when it is for another database.
 * @example
 * const db = attachActor(knex({ client: 'pg', connection: url }));
 */
export function attachActor<T extends { readonly client: unknown }>(knex: T, options: AttachOptions = {}): T {
  const client = knex.client as KnexClient;
  if (client.dialect !== 'postgresql')
    throw new TypeError("changetrail: this Knex is not for PostgreSQL (client: 'pg').");
  const acquire = client.acquireConnection;
  client.acquireConnection = async () => attachToClient(await acquire.call(client), options);
  return knex;
}
