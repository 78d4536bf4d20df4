/**
 * Puts a message in front of one query of `pg`, in the same write and the same transaction. The answers to the message are
 * taken out before the query sees its own. Knows the wire protocol's order, nothing of actors.
 *
 * With parameters: Parse, Bind, Execute of the message without a Sync, then the query's own messages and its Sync: the
 * server runs both in one implicit transaction. A simple query: the message's statement stands in front of its text.
 *
 * @see https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 */
import type { PendingMessage } from './message.ts';
import {
  EMIT_QUERY,
  emitBehindFirst,
  emitStatement,
  rollsBackFirst,
  type StatementKind,
  XID_QUERY,
} from './sql-text.ts';

/** The part of a connection of `pg` 8 that is used. */
export interface Connection {
  readonly parsedStatements: Readonly<Record<string, string>>;
  readonly submittedNamedStatements?: Record<string, string>;
  prependListener(event: string, listener: (message: { text?: string; status?: string }) => void): unknown;
  parse(message: { text: string; name: string; types: undefined }): void;
  bind(message: { portal: string; statement: string; values: readonly string[]; binary: boolean }): void;
  query(sql: string): void;
  execute(message: { portal: string; rows: number }): void;
  flush(): void;
  sync(): void;
}

/** A query as `pg` runs it: the client calls `submit`, then one of the handlers for each answer of the server. */
export interface PgQuery {
  text: string;
  name?: string | undefined;
  callback?: ((error: Error | null, result?: unknown) => void) | undefined;
  query_timeout?: unknown;
  requiresPreparation(): boolean;
  submit(connection: Connection): Error | null;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: { fields: readonly unknown[] }): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
  handleError(error: Error, connection: Connection): void;
}

export type PgQueryClass = new (config: unknown, values?: unknown, callback?: unknown) => PgQuery;

/** What is known of the transaction of one connection, from what the server says. */
export interface TransactionState {
  /** `I` none, `T` in one, `E` in a failed one; as of the last answer. */
  status: string | undefined;
  /** The body of the message that holds for the next statement of the open transaction, or null. */
  emitted: string | null;
}

/** Follows the transaction of a connection. Must see an answer before the client does: that may send the next query. */
export function followTransaction(connection: Connection, status: string): TransactionState {
  const state: TransactionState = { status, emitted: null };
  connection.prependListener('readyForQuery', (message) => {
    state.status = message.status;
    if (message.status === 'I') state.emitted = null;
  });
  connection.prependListener('commandComplete', (message) => {
    // ROLLBACK is also the tag of ROLLBACK TO: what was said since the savepoint is no longer said. COMMIT may chain.
    if (message.text === 'ROLLBACK' || message.text === 'COMMIT') state.emitted = null;
  });
  return state;
}

export interface Carried {
  readonly message: PendingMessage;
  readonly kind: StatementKind;
  readonly state: TransactionState;
  /** The client sends queries before the answers of earlier ones: nothing is known about the transaction. */
  readonly pipelined: boolean;
}

/** Makes `query` bring its message along, should it turn out to be needed when the query's turn comes. */
export function carryMessage(query: PgQuery, carried: Carried): void {
  const submit = query.submit;
  query.submit = (connection) => {
    query.submit = submit;
    if (!isNeeded(carried, query.text)) return query.submit(connection);
    if (carried.message.bindTransaction) return submitBound(query, carried, connection);
    return attempt(() => submitTogether(query, carried, connection, carried.message.text()));
  };
}

/** A signer that throws: the client hands a returned error to the query, a thrown one would stop its queue. */
function attempt(submit: () => Error | null): Error | null {
  try {
    return submit();
  } catch (error) {
    return error as Error;
  }
}

function isNeeded({ message, kind, state, pipelined }: Carried, sql: string): boolean {
  if (pipelined) return kind === 'write';
  // Also in a failed transaction, which goes on behind it. No transaction's id can be asked for there.
  if (state.status !== 'I' && kind === 'control') return !message.bindTransaction && rollsBackFirst(sql);
  if (state.status === 'T') return state.emitted !== message.body;
  return state.status === 'I' && (kind === 'write' || kind === 'control');
}

/** Sends the message with the query: right before the first thing the query itself sends. */
function submitTogether(query: PgQuery, carried: Carried, connection: Connection, text: string): Error | null {
  const { kind, message, state } = carried;
  const done = () => {
    state.emitted = message.body;
  };
  let skipped: Skipped | undefined;
  const begin = () => {
    if (skipped !== undefined || kind === 'control') return;
    skipped = { done };
    sendUnsynced(connection, EMIT_QUERY, [text]);
  };
  const before: Pick<Connection, 'parse' | 'bind' | 'query'> = {
    parse(statement) {
      begin();
      connection.parse(statement);
    },
    bind(values) {
      begin();
      connection.bind(values);
    },
    query(sql) {
      const statement = emitStatement(text);
      const behindFirst = kind === 'control' ? emitBehindFirst(sql, statement) : null;
      if (kind === 'control' && behindFirst === null) return connection.query(sql);
      connection.query(behindFirst ?? `${statement};${sql}`);
      skipped = { done, passFirst: behindFirst !== null, shift: statement.length + 1 };
    },
  };
  const error = query.submit(Object.assign(Object.create(connection) as Connection, before));
  // Only now: while it sends, the query must be its own self.
  if (skipped !== undefined) skipAnswer(query, skipped);
  return error;
}

/** Asks for the transaction's id, then signs, then sends message and query; all in one transaction. */
function submitBound(query: PgQuery, carried: Carried, connection: Connection): Error | null {
  let transactionId: string | undefined;
  sendUnsynced(connection, XID_QUERY, []);
  connection.flush();
  skipAnswer(query, {
    row: (fields) => {
      transactionId = String(fields[0]);
    },
    failed: () => connection.sync(),
    done: () => {
      const error = attempt(() => {
        const text = carried.message.text(transactionId === undefined ? {} : { transactionId });
        return submitTogether(query, carried, connection, text);
      });
      if (error === null) return;
      query.handleError(error, connection);
      // The end of the empty transaction is answered to this query, which has its answer already.
      query.callback = () => {};
      connection.sync();
    },
  });
  return null;
}

function sendUnsynced(connection: Connection, sql: string, values: readonly string[]): void {
  connection.parse({ text: sql, name: '', types: undefined });
  connection.bind({ portal: '', statement: '', values, binary: false });
  connection.execute({ portal: '', rows: 0 });
}

interface Skipped {
  /** The statement has run. */
  done(): void;
  row?(fields: readonly unknown[]): void;
  failed?(): void;
  /** One answer of the query's own comes before. */
  readonly passFirst?: boolean;
  /** How far the query's own text was moved, in characters: the server counts error positions from the start. */
  readonly shift?: number;
}

/** Hides the answers to one statement from the query: up to and with its CommandComplete. */
function skipAnswer(query: PgQuery, skipped: Skipped): void {
  const { name } = query;
  let passing = skipped.passFirst === true;
  // The client would note the statement of this name as parsed when the message's own ParseComplete comes.
  query.name = undefined;
  const hidden: Pick<PgQuery, (typeof HIDDEN)[number]> = {
    handleRowDescription(message) {
      if (passing) Object.getPrototypeOf(query).handleRowDescription.call(query, message);
    },
    handleDataRow(message) {
      if (passing) Object.getPrototypeOf(query).handleDataRow.call(query, message);
      else skipped.row?.(message.fields);
    },
    handleCommandComplete(message, connection) {
      if (passing) {
        passing = false;
        Object.getPrototypeOf(query).handleCommandComplete.call(query, message, connection);
        return;
      }
      end();
      skipped.done();
    },
    handleError(error, connection) {
      end();
      if (name !== undefined) delete connection.submittedNamedStatements?.[name];
      skipped.failed?.();
      query.handleError(error, connection);
    },
  };
  Object.assign(query, hidden);

  function end(): void {
    query.name = name;
    for (const handler of HIDDEN) delete (query as Partial<PgQuery>)[handler];
    if (skipped.shift !== undefined) shiftErrorPosition(query, skipped.shift);
  }
}

const HIDDEN = ['handleRowDescription', 'handleDataRow', 'handleCommandComplete', 'handleError'] as const;

/** The server counts from the start of the text it was sent; the application looks at its own. */
function shiftErrorPosition(query: PgQuery, shift: number): void {
  query.handleError = (error, connection) => {
    delete (query as Partial<PgQuery>).handleError;
    const located = error as { position?: string };
    if (Number(located.position) > shift) located.position = String(Number(located.position) - shift);
    query.handleError(error, connection);
  };
}

/**
 * A query that only carries the message, for what brings its own protocol (a cursor, a stream). Outside of a transaction it
 * does nothing: the message would stand alone in one of its own.
 */
export function messageAlone(Query: PgQueryClass, { message, state }: Carried): PgQuery {
  const query = new Query({ text: '' }, undefined, () => {});
  const submit = query.submit;
  query.submit = (connection) => {
    if (state.status === 'T' && state.emitted !== message.body) {
      query.text = emitStatement(message.text());
      state.emitted = message.body;
    }
    return submit.call(query, connection);
  };
  return query;
}
