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

const STARTS_QUOTED = /--|\/\*|\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|['"]/gi;
const NAME_BEFORE = /[\w$\u0080-\uffff]/;
const LINE_END = /[\n\r]/g;
const COMMENT_EDGE = /\/\*|\*\//g;

/**
 * The text with a space for every character of its comments, strings, dollar quotes, quoted names and `begin atomic` bodies: what
 * is left are the statements' own words, at the places where they stood. Backslashes escape in E'' strings only, as the server
 * reads them unless `standard_conforming_strings` is off.
 */
export function withoutQuoted(sql: string): string {
  let bare = '';
  let kept = 0;
  STARTS_QUOTED.lastIndex = 0;
  for (let found = STARTS_QUOTED.exec(sql); found !== null; found = STARTS_QUOTED.exec(sql)) {
    const { 0: mark, index } = found;
    // A dollar inside of a name begins nothing.
    if (mark[0] === '$' && NAME_BEFORE.test(sql[index - 1] ?? '')) {
      STARTS_QUOTED.lastIndex = index + 1;
      continue;
    }
    const end = endOfQuoted(sql, mark, index);
    bare += sql.slice(kept, index) + ' '.repeat(end - index);
    kept = STARTS_QUOTED.lastIndex = end;
  }
  return withoutBodies(bare + sql.slice(kept));
}

/** Where what begins with `mark` at `start` ends; the text's end when it does not. */
function endOfQuoted(sql: string, mark: string, start: number): number {
  const from = start + mark.length;
  if (mark === '--') return endOfLine(sql, from);
  if (mark === '/*') return endOfComment(sql, from);
  const escapes = mark === "'" && /e/i.test(sql[start - 1] ?? '') && !NAME_BEFORE.test(sql[start - 2] ?? '');
  for (let at = sql.indexOf(mark, from); at !== -1; at = sql.indexOf(mark, at + 1)) {
    if (escapes && isEscaped(sql, at, from)) continue;
    if (mark.length > 1 || sql[at + 1] !== mark) return at + mark.length;
    // A doubled quote stands for one.
    at++;
  }
  return sql.length;
}

function endOfLine(sql: string, from: number): number {
  LINE_END.lastIndex = from;
  return LINE_END.test(sql) ? LINE_END.lastIndex : sql.length;
}

/** Comments nest. */
function endOfComment(sql: string, from: number): number {
  COMMENT_EDGE.lastIndex = from;
  for (let depth = 1; depth > 0; ) {
    const edge = COMMENT_EDGE.exec(sql);
    if (edge === null) return sql.length;
    depth += edge[0] === '/*' ? 1 : -1;
  }
  return COMMENT_EDGE.lastIndex;
}

/** Whether an odd number of backslashes stands before `at`. */
function isEscaped(sql: string, at: number, from: number): boolean {
  let before = at;
  while (before > from && sql[before - 1] === '\\') before--;
  return (at - before) % 2 === 1;
}

const BODY_WORDS = /\bbegin\s+atomic\b|\bcase\b|\bend\b/gi;

/** The body of a routine in the SQL standard's form is part of its statement, though its own statements end in semicolons. */
function withoutBodies(bare: string): string {
  let depth = 0;
  let text = '';
  let kept = 0;
  for (const { 0: word, index } of bare.matchAll(BODY_WORDS)) {
    const begins = /^begin/i.test(word);
    if (begins === depth > 0) continue;
    if (begins) {
      text += bare.slice(kept, index);
      kept = index;
      depth = 1;
    } else if (/^case/i.test(word)) depth++;
    else if (--depth === 0) {
      text += ' '.repeat(index + word.length - kept);
      kept = index + word.length;
    }
  }
  return depth > 0 ? text : text + bare.slice(kept);
}

/** A first statement behind which the rest of a text is in a transaction, or in what is left of one. */
const BEGINS = /^\s*(?:begin|start\s+transaction)\b[a-z\s,]*;/i;
const ROLLS_BACK_TO = /^\s*rollback\s+(?:(?:work|transaction)\s+)?to\b[^;]*;/i;

/** Whether a text of several statements rolls back to a savepoint first: what was said before may no longer be said. */
export function rollsBackFirst(sql: string): boolean {
  return sql.includes(';') && ROLLS_BACK_TO.test(withoutQuoted(sql));
}

/**
 * A simple query of several statements that begins a transaction itself, or rolls back to a savepoint first: the text with the
 * message behind that, or null when it is not one or changes nothing.
 */
export function emitBehindFirst(sql: string, statement: string): string | null {
  if (!sql.includes(';')) return null;
  const bare = withoutQuoted(sql);
  const end = (BEGINS.exec(bare) ?? ROLLS_BACK_TO.exec(bare))?.[0].length;
  if (end === undefined) return null;
  const rest = sql.slice(end);
  if (statementKind(rest) === 'control' || !WRITES_IN_QUERY.test(rest)) return null;
  return `${sql.slice(0, end)}${statement};${rest}`;
}
