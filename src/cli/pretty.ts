// One record as a person reads it: when, what to which row, by whom, and what changed.
import type { AuditRecord } from '../record/schema.ts';

export interface Palette {
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly cyan: (text: string) => string;
}

const code = (number: number) => (text: string) => `\u001b[${number}m${text}\u001b[0m`;
const plain = (text: string) => text;

export const COLOURS: Palette = {
  dim: code(90),
  bold: code(1),
  red: code(31),
  green: code(32),
  yellow: code(33),
  cyan: code(36),
};
export const NO_COLOURS: Palette = { dim: plain, bold: plain, red: plain, green: plain, yellow: plain, cyan: plain };

/** Colours only on a terminal, and not when NO_COLOR is set. */
export function paletteFor(stream: { isTTY?: boolean }): Palette {
  return stream.isTTY === true && !process.env['NO_COLOR'] ? COLOURS : NO_COLOURS;
}

const MAX_VALUE = 60;

/** One or two lines, with their line feed. */
export function prettyRecord(record: AuditRecord, p: Palette): string {
  const head = `${p.dim(record.time.slice(11, 23))} ${action(record, p)} ${p.bold(objectName(record))}${key(record)}  ${who(record, p)}`;
  const detail = details(record, p);
  return detail === '' ? `${head}\n` : `${head}\n             ${detail}\n`;
}

function action(record: AuditRecord, p: Palette): string {
  const colour: Readonly<Record<string, (text: string) => string>> = {
    insert: p.green,
    update: p.yellow,
    replace: p.yellow,
    delete: p.red,
    truncate: p.red,
  };
  const name =
    record.kind === 'change'
      ? record.action
      : `${record.kind} ${record.action === record.kind ? '' : record.action}`.trim();
  const paint = record.kind === 'gap' ? p.red : (colour[record.action] ?? p.cyan);
  return paint(name.toUpperCase().padEnd(record.kind === 'change' ? 8 : 14));
}

function objectName(record: AuditRecord): string {
  const { schema, table, database, collection } = record.object;
  const name = [schema ?? database, table ?? collection].filter((part) => part !== undefined).join('.');
  return clean(name === '' ? record.source.name : name);
}

function key(record: AuditRecord): string {
  const values = record.object.key;
  if (values === undefined || values === null) return '';
  const text = Object.values(values as object)
    .map(short)
    .join(', ');
  return ` [${text}]`;
}

function who(record: AuditRecord, p: Palette): string {
  const actor = record.actor;
  if (actor === undefined) return '';
  const reason = typeof record.context?.['reason'] === 'string' ? p.dim(` “${short(record.context['reason'])}”`) : '';
  if (actor.id === undefined) {
    const database = actor.db_user === undefined ? '' : ` (database user ${clean(actor.db_user)})`;
    return p.dim(`by nobody known${database}`) + reason;
  }
  const sure = actor.assurance === 'verified' ? p.green('✓ verified') : p.dim(actor.assurance);
  return `by ${p.cyan(short(actor.name ?? actor.id))}${actor.type === undefined ? '' : p.dim(` ${short(actor.type)}`)} ${sure}${reason}`;
}

function details(record: AuditRecord, p: Palette): string {
  if (record.kind === 'gap')
    return p.red(
      `from ${String(record.details?.['from'])} to ${String(record.details?.['to'])}: ${String(record.details?.['cause'])}`,
    );
  if (record.kind !== 'change') return '';
  const before = asRow(record.before);
  const after = asRow(record.after);
  if (record.action === 'update' && record.changed !== undefined) {
    return record.changed
      .slice(0, 6)
      .map(
        (name) =>
          `${name}: ${before === null ? '' : `${p.red(short(before[name]))} → `}${p.green(short(after?.[name]))}`,
      )
      .join(p.dim(', '));
  }
  const row = after ?? before;
  if (row === null) return '';
  return p.dim(
    Object.entries(row)
      .slice(0, 6)
      .map(([name, value]) => `${clean(name)}: ${short(value)}`)
      .join(', '),
  );
}

function asRow(value: unknown): Readonly<Record<string, unknown>> | null {
  return value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : null;
}

/** A value in a few characters. */
function short(value: unknown): string {
  const text = clean(typeof value === 'string' ? value : (objectId(value) ?? JSON.stringify(value) ?? '–'));
  return text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE - 1)}…` : text;
}

/** MongoDB's most common key, without its wrapping. */
function objectId(value: unknown): string | undefined {
  const id = (value as { $oid?: unknown } | null | undefined)?.$oid;
  return typeof id === 'string' ? id : undefined;
}

/** Text of a database without what would steer the terminal: control characters, and marks that turn the direction. */
function clean(text: unknown): string {
  return String(text).replace(/[\p{Cc}\p{Cf}]/gu, '·');
}
