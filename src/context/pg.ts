/**
 * `changetrail/context/pg`: carries the current actor into every transaction of a `pg` pool or client.
 *
 * The message travels in the same write as the first statement that may change something, inside the same transaction, so
 * it costs no round trip and no explicit transaction. Nothing is set on the session: behind a pooler, and for the next
 * request on the connection, nothing is left.
 */
import { pendingMessage } from './message.ts';
import type { AttachOptions } from './options.ts';
import {
  type Carried,
  type Connection,
  carryMessage,
  followTransaction,
  messageAlone,
  type PgQuery,
  type PgQueryClass,
} from './pg-query.ts';
import { bindActor } from './scope.ts';
import { type StatementKind, statementKind } from './sql-text.ts';

export type { AttachOptions } from './options.ts';

/** What is used of a `pg` client: `query`, and what lies below it in `pg` 8. */
interface ClientLike {
  query(...args: unknown[]): unknown;
  readonly connection?: Connection;
  readonly pipeline?: boolean;
  readonly _txStatus?: string | null;
}

interface PoolLike {
  connect(...args: unknown[]): unknown;
  on(event: 'acquire', listener: (client: ClientLike) => void): unknown;
}

type Send = (...args: unknown[]) => unknown;

/** Objects that carry the actor already: attaching twice changes nothing. */
const attached = new WeakSet<object>();

/**
 * Makes a `Pool` or `Client` of `pg` carry the current actor, and returns it. Call it once, where the pool is made.
 *
 * - In an explicit transaction the message goes with the first statement that is not a plain query, and again when the
 *   actor changes or a savepoint that held it is rolled back.
 * - A single statement that writes outside a transaction is sent as one implicit transaction together with its message.
 * - A plain query sends nothing. A query that calls a function that writes is not recognised: see `isWrite`.
 * - Outside a transaction, statements that must not be wrapped (`call`, `do`, `create index concurrently`) and streams
 *   (`pg-copy-streams`) are sent as they are: put them into a transaction where they need an actor.
 *
 * @throws TypeError for `pg.native`, and for a signer that binds transactions on a client in pipeline mode.
 * @example
 * const pool = attachActor(new Pool({ connectionString }));
 */
export function attachActor<T extends object>(target: T, options: AttachOptions = {}): T {
  if (attached.has(target)) return target;
  attached.add(target);
  if ('totalCount' in target) attachPool(target as object as PoolLike, options);
  else attachClient(target as object as ClientLike, options);
  return target;
}

function attachPool(pool: PoolLike, options: AttachOptions): void {
  // `acquire` comes before the client is handed out, and also for clients older than this call.
  pool.on('acquire', (client) => attachActor(client, options));
  const connect = pool.connect;
  // A waiting callback is called by whoever gives a client back: it must run for the one who asked.
  pool.connect = function (this: unknown, callback?: unknown) {
    return connect.call(this, typeof callback === 'function' ? bindActor(callback as () => unknown) : undefined);
  };
}

function attachClient(client: ClientLike, options: AttachOptions): void {
  const { connection } = client;
  const { Query } = client.constructor as { Query?: PgQueryClass };
  if (connection === undefined || Query === undefined) {
    throw new TypeError('changetrail: this is no client of pg; pg.native is not supported.');
  }
  const state = followTransaction(connection, client._txStatus ?? 'I');
  const pipelined = client.pipeline === true;
  const query = client.query;
  const send: Send = (...args) => query.apply(client, args);

  client.query = (...args: unknown[]) => {
    const sql = sqlOf(args[0], connection);
    const kind = sql === undefined ? 'read' : kindOf(sql, options);
    const message = kind === 'read' ? undefined : pendingMessage(options);
    if (message === undefined) return send(...args);
    if (message.bindTransaction && pipelined) {
      throw new TypeError('changetrail: claims cannot be bound to a transaction on a client in pipeline mode.');
    }
    return sendWithMessage(Query, { message, kind, state, pipelined }, args, send);
  };
}

/** The text of what is given to `query`: a text, a configuration, a query object, or the name of a prepared statement. */
function sqlOf(config: unknown, connection: Connection): string | undefined {
  const { text, name } =
    typeof config === 'string' ? { text: config } : ((config ?? {}) as { text?: unknown; name?: unknown });
  const sql = text ?? (typeof name === 'string' ? connection.parsedStatements[name] : undefined);
  return typeof sql === 'string' ? sql : undefined;
}

function kindOf(sql: string, { isWrite }: AttachOptions): StatementKind {
  const kind = statementKind(sql);
  // A transaction that is begun and used in one text has its semicolons; other control statements carry nothing.
  if (kind === 'control') return sql.includes(';') ? 'control' : 'read';
  return kind === 'read' && isWrite?.(sql) ? 'write' : kind;
}

/** Sends like the client's own `query`, with the same three forms: a query object, a callback, a promise. */
function sendWithMessage(Query: PgQueryClass, carried: Carried, args: unknown[], send: Send): unknown {
  const [config, values, callback] = args;
  if (isSubmittable(config)) {
    if (config instanceof Query) carryMessage(config, carried);
    // A cursor or a stream speaks the protocol itself; the message goes ahead of it. In pipeline mode there are none.
    else if (!carried.pipelined) send(messageAlone(Query, carried));
    return send(...args);
  }
  const query = new Query(config, values, callback);
  query.query_timeout = (config as { query_timeout?: unknown }).query_timeout;
  carryMessage(query, carried);
  if (query.callback) {
    send(query);
    return undefined;
  }
  const result = new Promise((resolve, reject) => {
    query.callback = (error, answer) => (error ? reject(error) : resolve(answer));
    send(query);
  });
  return result.catch((error: Error) => {
    // As in pg: the stack of the caller, not of the socket.
    Error.captureStackTrace(error);
    throw error;
  });
}

function isSubmittable(config: unknown): config is PgQuery {
  return typeof (config as { submit?: unknown } | null)?.submit === 'function';
}
