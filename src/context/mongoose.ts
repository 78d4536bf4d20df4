/** `changetrail/context/mongoose`: carries the current actor into transactions of Mongoose. */
import { attachActor as attachToClient, type MongoActorOptions } from './mongodb.ts';

export type { MongoActorOptions } from './mongodb.ts';

interface ConnectionLike {
  asPromise(): Promise<unknown>;
  getClient(): object;
}

/**
 * Makes every `connection.transaction` and `session.withTransaction` of a Mongoose connection carry the current actor, and
 * returns the connection when it is open. With `mongoose.set('transactionAsyncLocalStorage', true)` the operations inside
 * need no session. Writes outside of a transaction carry nothing: put them into one.
 *
 * @example
 * const connection = await attachActor(mongoose.createConnection(url));
 * await connection.transaction(() => User.updateOne({ _id }, { name }));
 */
export async function attachActor<T extends ConnectionLike>(
  connection: T,
  options: MongoActorOptions = {},
): Promise<T> {
  await connection.asPromise();
  attachToClient(connection.getClient(), options);
  return connection;
}
