/** Runs queries of postgres.js with the message of their actor before them. Knows what a query and a connection of it are made of. */
import { type PendingMessage, pendingMessage } from './message.ts';
import type { AttachOptions } from './options.ts';
import { bindActor } from './scope.ts';
import { emitStatement, type StatementKind, statementKind, withoutQuoted, XID_QUERY } from './sql-text.ts';

/** What is used of a query of postgres.js: a promise that runs when it is awaited, by handing itself to its `handler`. */
export interface SqlQuery extends Promise<unknown> {
  readonly strings: readonly string[];
  readonly args: readonly unknown[];
  readonly streaming?: boolean;
  readonly onlyDescribe?: boolean;
  executed: boolean;
  handler: Handler;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** Where a query hands itself to when it is to run. */
export type Handler = ((query: SqlQuery) => void) & { debug?: unknown };

/** `sql`: the one of the pool, of a transaction, a savepoint, or a reserved connection. */
export interface Sql {
  (strings: unknown, ...args: unknown[]): unknown;
  unsafe(text: string, args?: unknown[], options?: unknown): SqlQuery;
  reserve?(): Promise<Sql>;
  begin?(...args: unknown[]): Promise<unknown>;
  savepoint?(...args: unknown[]): Promise<unknown>;
}

/** What was said on a connection that is ours: one for all handles of it, a transaction's and those of its savepoints. */
export interface Said {
  /** In a transaction. */
  open: boolean;
  /** The body of the message that holds for the next statement, or null. */
  emitted: string | null;
  /** What the next statement waits for, so that statements stay in their order. */
  ready: Promise<unknown> | null;
}

/** One handle of a connection. */
export interface Channel {
  readonly handler: Handler;
  readonly unsafe: Sql['unsafe'];
  readonly said: Said;
}

/** What is used of a connection of postgres.js. */
interface Connection {
  /** Writes a query; true when another one may be written behind it at once. */
  execute(query: SqlQuery): unknown;
  /** Called when the connection is idle inside a transaction; null when it belongs to nobody. */
  reserved: (() => void) | null;
}

/** A text of several statements, without its quoted parts, that begins, ends or rolls back something behind its first. */
const TURNS_LATER = /;\s*(?:begin|start|commit|end|rollback|abort|prepare)\b/i;
/** A text, without its quoted parts, whose last statement ends the transaction. */
const ENDS_LAST = /;\s*(?:commit|end|rollback|abort)(?:\s+(?:work|transaction))?[\s;]*$/i;

/** Where queries of `sql` go when it is the one of a transaction, a savepoint or a reserved connection. */
export function openChannel(sql: Sql, said: Said): Channel {
  return { handler: sql.unsafe('').handler, unsafe: sql.unsafe, said };
}

/** Of a connection on which nothing was said. */
export function nothingSaid(open: boolean): Said {
  return { open, emitted: null, ready: null };
}

/** Runs a query on a connection of its own, in its turn, with the message before it where it needs one. */
export function runOn(channel: Channel, query: SqlQuery, handler: Handler, options: AttachOptions): void {
  if (channel.said.ready !== null) {
    channel.said.ready.then(bindActor(() => runOn(channel, query, handler, options)));
    return;
  }
  const text = textOf(query);
  const kind = kindOf(text, options);
  if (kind === 'control') followTransaction(channel, text);
  const message = kind === 'write' || kind === 'other' ? pendingMessage(options) : undefined;
  const turnsLater = text.includes(';') && TURNS_LATER.test(withoutQuoted(text));
  const run = () => {
    handler(query);
    if (turnsLater) turned(channel, text);
  };
  if (message === undefined) run();
  else if (channel.said.open) sayThen(channel, message, query, run);
  else if (kind === 'write' && mayBeWrapped(query) && !turnsLater) {
    wrapInTransaction(channel, message, query);
  } else run();
}

/** Runs a query of the pool: as it is, or in a transaction of its own. */
export function runAlone(sql: Sql, query: SqlQuery, handler: Handler, options: AttachOptions): void {
  const wanted = kindOf(textOf(query), options) === 'write' && mayBeWrapped(query);
  const message = wanted ? pendingMessage(options) : undefined;
  if (message === undefined) handler(query);
  else if (message.bindTransaction) runInBegin(sql, message, query);
  else runInOneFlight(sql, message, query, handler);
}

/**
 * `begin` with the message, the query, and `commit`, written to one connection without waiting. `sql.reserve` would be the
 * public way to hold on to a connection, but when it cannot connect the next connection is lost with it (postgres.js 3.4).
 * What is used instead is what `sql.begin` is made of: `onexecute` of the query that begins, called when it is written.
 */
function runInOneFlight(sql: Sql, message: PendingMessage, query: SqlQuery, handler: Handler): void {
  let committed: Promise<unknown> | undefined;
  const { resolve, reject } = query;
  const begin = prepare(sql.unsafe, `begin;${emitStatement(message.text())}`, {
    onexecute(connection: Connection) {
      const commit = prepare(sql.unsafe, 'commit');
      committed = commit;
      commit.catch(ignore);
      // Ours until it is back outside of a transaction, which postgres.js sees by itself.
      connection.reserved = () => connection.execute(commit);
      if (connection.execute(query) === true) {
        connection.reserved = ignore;
        connection.execute(commit);
      }
      return false;
    },
  });
  // A failed query makes the commit a rollback.
  query.resolve = (result) => committed?.then(() => resolve(result), reject);
  const begun = () => {
    if (committed === undefined) query.reject(new TypeError('changetrail: this version of postgres.js is not known.'));
  };
  begin.then(begun, query.reject);
  handler(begin);
}

/** The same with the transaction's id asked for first. */
function runInBegin(sql: Sql, message: PendingMessage, query: SqlQuery): void {
  const { resolve, reject } = query;
  const ran = new Promise((resolveRan, rejectRan) => {
    query.resolve = resolveRan;
    query.reject = rejectRan;
  });
  sql
    .begin?.((tx: Sql) => {
      const channel = openChannel(tx, nothingSaid(true));
      sayThen(channel, message, query, () => channel.handler(query));
      return ran;
    })
    .then(resolve, reject);
}

/** On a connection reserved by the application: `begin`, the message, the query, `commit`. */
function wrapInTransaction(channel: Channel, message: PendingMessage, query: SqlQuery): void {
  const { resolve, reject } = query;
  let committed: Promise<unknown> | undefined;
  const end = (how: 'commit' | 'rollback') => {
    committed = send(channel, how);
    committed.catch(ignore);
    channel.said.open = false;
    channel.said.emitted = null;
  };
  query.resolve = (result) => committed?.then(() => resolve(result), reject);
  send(channel, 'begin').catch(reject);
  channel.said.open = true;
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
  const { said } = channel;
  const sayIt = (transactionId: string | undefined) => {
    said.ready = null;
    try {
      if (said.emitted !== message.body) say(channel, message, transactionId);
    } catch (error) {
      query.reject(error);
      failed();
      return;
    }
    then();
  };
  if (!message.bindTransaction || said.emitted === message.body) {
    sayIt(undefined);
    return;
  }
  const asked = send(channel, XID_QUERY) as Promise<readonly Record<string, string>[]>;
  said.ready = asked.then(
    // The application may transform the names of columns.
    (rows) => sayIt(Object.values(rows[0] ?? {})[0]),
    (error) => {
      said.ready = null;
      query.reject(error);
      failed();
    },
  );
}

function say(channel: Channel, message: PendingMessage, transactionId: string | undefined): void {
  const text = message.text(transactionId === undefined ? {} : { transactionId });
  // Its failure fails the transaction, and with it the statements after it.
  send(channel, emitStatement(text)).catch(ignore);
  channel.said.emitted = message.body;
}

/** Hands a statement to the connection now, before whatever is handed to it next. */
function send(channel: Channel, text: string): Promise<unknown> {
  const query = prepare(channel.unsafe, text);
  channel.handler(query);
  return query;
}

/** A statement that is run by whoever hands it to a handler or connection, not by being awaited. */
function prepare(unsafe: Sql['unsafe'], text: string, options: object = {}): SqlQuery {
  const query = unsafe(text, [], options);
  query.executed = true;
  return query;
}

function followTransaction({ said }: Channel, text: string): void {
  const word = /^[\s;]*([a-z]+)(\s+(?:work\s+|transaction\s+)?to\b)?/i.exec(text);
  const verb = word?.[1]?.toLowerCase() ?? '';
  if (verb === 'rollback' && word?.[2] !== undefined) said.emitted = null;
  else if (['commit', 'end', 'rollback', 'abort'].includes(verb)) {
    said.open = /\band\s+chain\b/i.test(text);
    said.emitted = null;
  } else if (verb === 'begin' || verb === 'start') said.open = true;
}

/**
 * What was said before such a text may be taken back in it. Whether a transaction is open behind it is often not to be told: then
 * one is, for the application's own must never be ended by us.
 */
function turned({ said }: Channel, text: string): void {
  said.emitted = null;
  // Where standard_conforming_strings is off, a string goes on behind such a quote.
  said.open = !ENDS_LAST.test(withoutQuoted(text)) || text.includes("\\'");
}

function kindOf(text: string, { isWrite }: AttachOptions): StatementKind {
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

/** Whether a value is a query, or a fragment of one. */
export function isQuery(value: unknown): value is SqlQuery {
  return value instanceof Promise && Array.isArray((value as { strings?: unknown } & object).strings);
}

function ignore(): void {}
