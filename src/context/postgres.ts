/**
 * `changetrail/context/postgres`: carries the current actor into every transaction of `postgres` (postgres.js).
 *
 * Inside `sql.begin` the message is pipelined before the first statement that may change something. A single statement that
 * writes outside of one is pipelined as `begin` with the message, the statement, and `commit`, all in one flight.
 */
import { type PendingMessage, pendingMessage } from './message.ts';
import type { AttachOptions } from './options.ts';
import { bindActor } from './scope.ts';
import { emitStatement, statementKind, XID_QUERY } from './sql-text.ts';

/** What is used of a query of postgres.js: a promise that runs when it is awaited, by handing itself to its `handler`. */
interface SqlQuery extends Promise<unknown> {
  readonly strings: readonly string[];
  readonly args: readonly unknown[];
  readonly streaming?: boolean;
  readonly onlyDescribe?: boolean;
  executed: boolean;
  handler: Handler;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

type Handler = ((query: SqlQuery) => void) & { debug?: unknown };

/** `sql`: the one of the pool, of a transaction, a savepoint, or a reserved connection. */
interface Sql {
  (strings: unknown, ...args: unknown[]): unknown;
  unsafe(text: string, args?: unknown[], options?: unknown): SqlQuery;
  reserve?(): Promise<Sql & { release(): void }>;
  begin?(...args: unknown[]): Promise<unknown>;
  savepoint?(...args: unknown[]): Promise<unknown>;
  end?(options?: { timeout?: number | null }): Promise<void>;
}

/** One connection for as long as it is ours, and what was said on it. */
interface Channel {
  readonly handler: Handler;
  readonly unsafe: Sql['unsafe'];
  /** In a transaction. */
  open: boolean;
  /** The body of the message that holds for the next statement, or null. */
  emitted: string | null;
  /** What the next statement waits for, so that statements stay in their order. */
  ready: Promise<unknown> | null;
}

interface Pool {
  readonly options: AttachOptions;
  /** Statements in transactions of their own that are not finished. */
  readonly pending: Set<Promise<unknown>>;
  ended: boolean;
}

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
  return wrapPool(sql as object as Sql, { options, pending: new Set(), ended: false }) as object as T;
}

function wrapPool(sql: Sql, pool: Pool): Sql {
  const run = (query: SqlQuery, handler: Handler) => runAlone(sql, query, handler, pool);
  return wrap(sql, run, {
    begin: (...args: unknown[]) => {
      const fn = args.pop() as (tx: Sql) => unknown;
      return sql.begin?.(...args, (tx: Sql) => fn(wrapTransaction(tx, pool)));
    },
    reserve: async () => {
      const reserved = await (sql.reserve as () => Promise<Sql & { release(): void }>)();
      return wrapChannel(reserved, openChannel(reserved, false), pool);
    },
    end: async (how?: { timeout?: number | null }) => {
      pool.ended = true;
      // postgres.js would wait for ever for a connection that is given back after `end`.
      if (how?.timeout == null) await Promise.allSettled(pool.pending);
      await sql.end?.(how);
    },
  });
}

function wrapTransaction(tx: Sql, pool: Pool): Sql {
  const channel = openChannel(tx, true);
  return wrapChannel(tx, channel, pool);
}

function wrapChannel(sql: Sql, channel: Channel, pool: Pool): Sql {
  return wrap(sql, (query, handler) => runOn(channel, query, handler, pool), {
    savepoint: async (...args: unknown[]) => {
      const fn = args.pop() as (inner: Sql) => unknown;
      try {
        return await sql.savepoint?.(...args, (inner: Sql) => fn(wrapTransaction(inner, pool)));
      } finally {
        // A savepoint's own channel said who acts on its own account; what it said may be rolled back.
        channel.emitted = null;
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
      const bound: Handler = bindActor((own: SqlQuery) => run(own, handler));
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

function openChannel(sql: Sql, open: boolean): Channel {
  return { handler: sql.unsafe('').handler, unsafe: sql.unsafe, open, emitted: null, ready: null };
}

/** Runs a query on a connection of its own, in its turn, with the message before it where it needs one. */
function runOn(channel: Channel, query: SqlQuery, handler: Handler, pool: Pool): void {
  if (channel.ready !== null) {
    channel.ready.then(bindActor(() => runOn(channel, query, handler, pool)));
    return;
  }
  const text = textOf(query);
  const kind = kindOf(text, pool.options);
  if (kind === 'control') followTransaction(channel, text);
  const message = kind === 'write' || kind === 'other' ? pendingMessage(pool.options) : undefined;
  if (message === undefined) handler(query);
  else if (channel.open) sayThen(channel, message, query, () => handler(query));
  else if (kind === 'write' && mayBeWrapped(query)) wrapInTransaction(channel, message, query, ignore);
  else handler(query);
}

/** Runs a query of the pool: as it is, or on a reserved connection in a transaction of its own. */
function runAlone(sql: Sql, query: SqlQuery, handler: Handler, pool: Pool): void {
  const wanted = !pool.ended && kindOf(textOf(query), pool.options) === 'write' && mayBeWrapped(query);
  const message = wanted ? pendingMessage(pool.options) : undefined;
  if (message === undefined || sql.reserve === undefined) {
    handler(query);
    return;
  }
  const work = sql.reserve().then(
    (reserved) =>
      new Promise<void>((finished) => {
        wrapInTransaction(openChannel(reserved, false), message, query, (broken) => {
          if (!broken) reserved.release();
          finished();
        });
      }),
    (error) => query.reject(error),
  );
  pool.pending.add(work);
  work.finally(() => pool.pending.delete(work));
}

/**
 * `begin`, the message, the query and `commit` in one flight. The query is answered when the commit is. `finished` is called
 * once, when the connection is free again, or broken: then it is postgres.js that takes care of it.
 */
function wrapInTransaction(
  channel: Channel,
  message: PendingMessage,
  query: SqlQuery,
  finished: (broken: boolean) => void,
): void {
  const { resolve, reject } = query;
  let committed: Promise<unknown> | undefined;
  query.reject = (error) => {
    reject(error);
    if (isBroken(error)) finished(true);
  };
  const end = (how: 'commit' | 'rollback') => {
    committed = send(channel, how);
    channel.open = false;
    channel.emitted = null;
    // A failed query makes the commit a rollback.
    committed.then(
      () => finished(false),
      (error) => finished(isBroken(error)),
    );
  };
  query.resolve = (result) => committed?.then(() => resolve(result), reject);
  send(channel, 'begin').catch((error) => query.reject(error));
  channel.open = true;
  sayThen(
    channel,
    message,
    query,
    () => {
      channel.handler(query);
      end('commit');
    },
    () => end('rollback'),
  );
}

function isBroken(error: unknown): boolean {
  return String((error as { code?: unknown } | null)?.code).startsWith('CONNECTION_');
}

/**
 * Sends the message unless it holds already, then calls `then`, at once unless the signer binds transactions. When it cannot
 * be made the query is rejected and `failed` called.
 */
function sayThen(
  channel: Channel,
  message: PendingMessage,
  query: SqlQuery,
  then: () => void,
  failed: () => void = ignore,
): void {
  const said = (transactionId: string | undefined) => {
    channel.ready = null;
    try {
      if (channel.emitted !== message.body) say(channel, message, transactionId);
    } catch (error) {
      query.reject(error);
      failed();
      return;
    }
    then();
  };
  if (!message.bindTransaction || channel.emitted === message.body) {
    said(undefined);
    return;
  }
  const asked = send(channel, XID_QUERY) as Promise<readonly Record<string, string>[]>;
  channel.ready = asked.then(
    // The application may transform the names of columns.
    (rows) => said(Object.values(rows[0] ?? {})[0]),
    (error) => {
      channel.ready = null;
      query.reject(error);
      failed();
    },
  );
}

function say(channel: Channel, message: PendingMessage, transactionId: string | undefined): void {
  const text = message.text(transactionId === undefined ? {} : { transactionId });
  // Its failure fails the transaction, and with it the statements after it.
  send(channel, emitStatement(text)).catch(ignore);
  channel.emitted = message.body;
}

/** Hands a statement to the connection now, before whatever is handed to it next. */
function send(channel: Channel, text: string): Promise<unknown> {
  const query = channel.unsafe(text);
  query.executed = true;
  channel.handler(query);
  return query;
}

function followTransaction(channel: Channel, text: string): void {
  const word = /^[\s;]*([a-z]+)(\s+(?:work\s+|transaction\s+)?to\b)?/i.exec(text);
  const verb = word?.[1]?.toLowerCase() ?? '';
  if (verb === 'rollback' && word?.[2] !== undefined) channel.emitted = null;
  else if (['commit', 'end', 'rollback', 'abort'].includes(verb)) {
    channel.open = /\band\s+chain\b/i.test(text);
    channel.emitted = null;
  } else if (verb === 'begin' || verb === 'start') channel.open = true;
}

function kindOf(text: string, { isWrite }: AttachOptions) {
  const kind = statementKind(text);
  return kind === 'read' && isWrite?.(text) ? 'write' : kind;
}

/** COPY takes the connection over, and a description has no transaction. */
function mayBeWrapped(query: SqlQuery): boolean {
  return query.streaming !== true && query.onlyDescribe !== true;
}

/** The text of a query with its fragments; what is a parameter or a list of values stands as a space. */
function textOf(query: SqlQuery): string {
  let text = query.strings[0] ?? '';
  for (let at = 1; at < query.strings.length; at++) {
    const between = query.args[at - 1];
    text += `${isQuery(between) ? textOf(between) : ' '}${query.strings[at]}`;
  }
  return text;
}

function isQuery(value: unknown): value is SqlQuery {
  return value instanceof Promise && Array.isArray((value as { strings?: unknown } & object).strings);
}

function ignore(): void {}
