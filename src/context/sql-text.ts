/** SQL the helpers send, and what they can tell from the text of a statement without a parser. */

/** Runs only where a transaction may write: on a standby, or in a read-only transaction, the message would be an error. */
const WHERE_WRITABLE = "where pg_catalog.current_setting('transaction_read_only') = 'off'";

/** The message as a statement with one parameter. */
export const EMIT_QUERY = `select pg_catalog.pg_logical_emit_message(true, 'changetrail', $1::pg_catalog.text) ${WHERE_WRITABLE}`;

/** The id of the transaction, which is given one by this. No row where it may not write. */
export const XID_QUERY = `select pg_catalog.pg_current_xact_id()::pg_catalog.text as xid ${WHERE_WRITABLE}`;

/** The message as a statement that stands by itself. */
export function emitStatement(message: string): string {
  return EMIT_QUERY.replace('$1', () => quoteLiteral(message));
}

/**
 * An SQL literal that means the same whatever `standard_conforming_strings` says. The messages of this library are ASCII, so
 * no client encoding can hide a quote in a character.
 */
export function quoteLiteral(text: string): string {
  return `E'${text.replace(/[\\']/g, '$&$&')}'`;
}

/**
 * What a statement does, as far as its text tells:
 * - `write`: changes rows or tables, and may run together with the message in one implicit transaction.
 * - `read`: a query that changes nothing (a function it calls may; nobody can tell from the text).
 * - `control`: begins, ends or configures a transaction or session; nothing may come before it.
 * - `other`: may change something, but must not be wrapped (`call`, `do`, `create index concurrently` …).
 */
export type StatementKind = 'write' | 'read' | 'control' | 'other';

const SKIPPED = /^(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/|\(|;)+/;
const WRITES_IN_QUERY = /\b(?:insert|update|delete|merge|truncate|into)\b/i;
const WRITE_WORDS = new Set(['insert', 'update', 'delete', 'merge', 'truncate', 'copy']);
const QUERY_WORDS = new Set(['select', 'with', 'values', 'table']);
const CONTROL_WORDS = new Set(
  'begin start commit end rollback abort savepoint release prepare set reset show discard deallocate declare fetch move close listen unlisten notify checkpoint load lock explain vacuum analyze cluster reindex'.split(
    ' ',
  ),
);
/** A text of several statements whose first only prepares; nothing may come before `set transaction` and `lock`. */
const PREPARES = /^(?:set\s+(?!(?:session\s+characteristics|transaction)\b)|savepoint\b|release\b|reset\b)[^;]*;/i;
/** Statements on tables that may run inside a transaction. */
const TABLE_DDL = /^(?:create|alter|drop)\s+(?:(?:global|local|temp|temporary|unlogged)\s+)*table\b/i;

/** Looks at the first word and at words that write; errs towards `write` for queries and towards `other` for the rest. */
export function statementKind(sql: string): StatementKind {
  const text = sql.replace(SKIPPED, '');
  const word = /^[a-z]+/i.exec(text)?.[0].toLowerCase() ?? '';
  if (WRITE_WORDS.has(word)) return 'write';
  if (QUERY_WORDS.has(word)) return WRITES_IN_QUERY.test(text) ? 'write' : 'read';
  if (word === 'explain' && /\banalyze\b/i.test(text) && WRITES_IN_QUERY.test(text)) return 'write';
  const preparing = PREPARES.exec(text)?.[0];
  if (preparing !== undefined && WRITES_IN_QUERY.test(text.slice(preparing.length))) return 'write';
  if (word === '' || CONTROL_WORDS.has(word)) return 'control';
  return TABLE_DDL.test(text) && !/\bconcurrently\b/i.test(text) ? 'write' : 'other';
}

/** A first statement behind which the rest of a text is in a transaction, or in what is left of one. */
const BEGINS = /^\s*(?:begin|start\s+transaction)\b[a-z\s,]*;/i;
const ROLLS_BACK_TO = /^\s*rollback\s+(?:(?:work|transaction)\s+)?to\b[^;]*;/i;

/** Whether a text of several statements rolls back to a savepoint first: what was said before may no longer be said. */
export function rollsBackFirst(sql: string): boolean {
  return ROLLS_BACK_TO.test(sql);
}

/**
 * A simple query of several statements that begins a transaction itself, or rolls back to a savepoint first: the text with the
 * message behind that, or null when it is not one or changes nothing.
 */
export function emitBehindFirst(sql: string, statement: string): string | null {
  const first = (BEGINS.exec(sql) ?? ROLLS_BACK_TO.exec(sql))?.[0];
  if (first === undefined) return null;
  const rest = sql.slice(first.length);
  return statementKind(rest) === 'control' || !WRITES_IN_QUERY.test(rest) ? null : `${first}${statement};${rest}`;
}
