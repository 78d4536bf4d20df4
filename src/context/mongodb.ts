/**
 * `changetrail/context/mongodb`: carries the current actor into transactions of the MongoDB driver.
 *
 * Who acts is a context document, inserted first in the transaction and deleted at once: the change stream tells both, the
 * collection stays empty. A transaction needs a replica set or a sharded cluster.
 */
import type { ClientSession, Db, MongoClient, TransactionOptions } from 'mongodb';
import { type PendingMessage, pendingMessage } from './message.ts';
import type { Signer } from './signer.ts';

/** The collection of context documents unless another one is configured. */
export const CONTEXT_COLLECTION = '_changetrail_context';

export interface MongoActorOptions {
  /** The database of the context documents, which the capture must watch; default: the one of the client's URL. */
  readonly database?: string;
  /** Their collection, as `context_collection` in the configuration of the capture. */
  readonly collection?: string;
  /** Signs the documents; default: the signer given to `configureSigner`; `null`: not signed. */
  readonly signer?: Signer | null;
}

const attached = new WeakSet<object>();

/**
 * Makes every `session.withTransaction` of a client carry the current actor, and returns the client. Call it once, before
 * the first session. Writes outside of a transaction carry nothing: run them with `transaction`.
 *
 * @example
 * const client = attachActor(new MongoClient(url));
 */
export function attachActor<T extends object>(client: T, options: MongoActorOptions = {}): T {
  if (attached.has(client)) return client;
  attached.add(client);
  const target = client as T & Pick<MongoClient, 'db' | 'startSession'>;
  const startSession = target.startSession;
  target.startSession = (...args) => {
    const session = startSession.apply(target, args);
    const withTransaction = session.withTransaction;
    session.withTransaction = (fn, how) =>
      withTransaction.call(
        session,
        async (own: ClientSession) => {
          await announceActor(target.db(options.database), own, options);
          return fn(own);
        },
        how,
      ) as ReturnType<typeof fn>;
    return session;
  };
  return client;
}

/**
 * Runs `fn` in a transaction of its own that carries the current actor, for one write or for many. `fn` gives the session to
 * every operation, and may be called again when the server asks for it, as with `session.withTransaction`.
 *
 * @example
 * await transaction(client, (session) => users.updateOne({ _id }, { $set: { name } }, { session }));
 */
export async function transaction<T>(
  client: MongoClient,
  fn: (session: ClientSession) => Promise<T>,
  options: MongoActorOptions & TransactionOptions = {},
): Promise<T> {
  const { database, collection, signer, ...how } = options;
  const actorOptions = {
    ...(database && { database }),
    ...(collection && { collection }),
    ...(signer !== undefined && { signer }),
  };
  return client.withSession((session) =>
    session.withTransaction(async () => {
      if (!attached.has(client)) await announceActor(client.db(database), session, actorOptions);
      return fn(session);
    }, how),
  );
}

/**
 * Says who acts in the transaction of `session`, from here on: for transactions begun with `session.startTransaction`, and
 * where the actor changes in the middle of one. Does nothing when nobody is acting.
 */
export async function announceActor(
  db: Db,
  session: ClientSession,
  options: Omit<MongoActorOptions, 'database'> = {},
): Promise<void> {
  const message = pendingMessage(options);
  if (message === undefined) return;
  const documents = db.collection(options.collection ?? CONTEXT_COLLECTION);
  const { insertedId } = await documents.insertOne(documentOf(message), { session });
  await documents.deleteOne({ _id: insertedId }, { session });
}

/** The message as a document. Its keys are made such that BSON takes them; `_id` is the driver's. */
function documentOf(message: PendingMessage): Record<string, unknown> {
  const document = JSON.parse(message.text(), withoutNul) as Record<string, unknown>;
  if (!Object.hasOwn(document, '_id')) return document;
  const { _id, truncated, ...rest } = document;
  return { ...rest, truncated: [...(Array.isArray(truncated) ? truncated : []), '_id'] };
}

/** BSON's names end at a NUL; the values of an actor may have it. */
function withoutNul(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  if (!Object.keys(value).some((key) => key.includes('\0'))) return value;
  return Object.fromEntries(Object.entries(value).map(([key, own]) => [key.replaceAll('\0', '\ufffd'), own]));
}
