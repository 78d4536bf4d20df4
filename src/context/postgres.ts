/**
 * `changetrail/context/postgres`: carries the current actor into every transaction of `postgres` (postgres.js).
 *
 * Inside `sql.begin` the message is pipelined before the first statement that may change something. A single statement that
 * writes outside of one is pipelined as `begin` with the message, the statement, and `commit`, all in one flight.
 */
import type { AttachOptions } from './options.ts';
import {
  type Channel,
  type Handler,
  isQuery,
  nothingSaid,
  openChannel,
  runAlone,
  runOn,
  type Sql,
  type SqlQuery,
} from './postgres-query.ts';
import { bindActor } from './scope.ts';

export type { AttachOptions } from './options.ts';

const attached = new WeakSet<object>();

/**
 * Gives back a `sql` that carries the current actor and is used in place of the given one. The actor is the one in whose
 * scope a statement is written. Call it once, where `sql` is made.
 *
 * Outside of a transaction, what must not be wrapped (`call`, `do`, `sql.file`) and COPY streams are sent as they are.
 *
 * @example
 * const sql = attachActor(postgres(url));
 */
export function attachActor<T extends object>(sql: T, options: AttachOptions = {}): T {
  if (attached.has(sql)) return sql;
  return wrapPool(sql as object as Sql, options) as object as T;
}

function wrapPool(sql: Sql, options: AttachOptions): Sql {
  return wrap(sql, (query, handler) => runAlone(sql, query, handler, options), {
    begin: (...args: unknown[]) => {
      const fn = args.pop() as (tx: Sql) => unknown;
      return sql.begin?.(...args, (tx: Sql) => fn(wrapChannel(tx, openChannel(tx, nothingSaid(true)), options)));
    },
    reserve: async () => {
      const reserved = (await sql.reserve?.()) as Sql;
      return wrapChannel(reserved, openChannel(reserved, nothingSaid(false)), options);
    },
  });
}

function wrapChannel(sql: Sql, channel: Channel, options: AttachOptions): Sql {
  const { said } = channel;
  // What was said inside of a savepoint may be rolled back with it.
  const forget = () => {
    said.emitted = null;
  };
  return wrap(sql, (query, handler) => runOn(channel, query, handler, options), {
    savepoint: async (...args: unknown[]) => {
      const fn = args.pop() as (inner: Sql) => unknown;
      const scope = (inner: Sql) => {
        const result = fn(wrapChannel(inner, openChannel(inner, said), options));
        // Before postgres.js rolls back, and once more behind it: statements of the outer handle may come in between.
        Promise.all(Array.isArray(result) ? result : [result]).then(forget, forget);
        return result;
      };
      try {
        return await sql.savepoint?.(...args, scope);
      } finally {
        forget();
      }
    },
  });
}

/** `sql` with some of its functions replaced, whose queries run through `run`. */
function wrap(sql: Sql, run: (query: SqlQuery, handler: Handler) => void, replaced: Record<string, unknown>): Sql {
  const caught = <Q>(query: Q): Q => {
    // Also called for identifiers and lists of values, which are no queries; fragments of other queries never run.
    if (isQuery(query)) {
      const { handler } = query;
      const bound: Handler = bindActor((own: SqlQuery) => {
        try {
          run(own, handler);
        } catch (error) {
          // Who acts could not be said: the application's lookup or its signer failed.
          own.reject(error);
        }
      });
      bound.debug = handler.debug;
      query.handler = bound;
    }
    return query;
  };
  const own: Record<string, unknown> = {
    ...replaced,
    unsafe: (...args: Parameters<Sql['unsafe']>) => caught(sql.unsafe(...args)),
  };
  const wrapped = new Proxy(sql, {
    apply: (target, _self, args: [unknown, ...unknown[]]) => caught(target(...args)),
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      return value !== undefined && typeof key === 'string' && Object.hasOwn(own, key) ? own[key] : value;
    },
  });
  attached.add(wrapped);
  return wrapped;
}
