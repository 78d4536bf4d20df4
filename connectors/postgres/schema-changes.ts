// What happened to a table between two of its definitions, and which definitions are known.
import type { ColumnDefinition, TableDefinition } from './decode/relation.ts';

export interface KnownTable {
  readonly schema: string;
  readonly table: string;
  readonly definition: TableDefinition;
}

export interface SchemaChange {
  readonly action: 'attach' | 'alter' | 'rename';
  /** Paths into the definition: `columns.email`, `replica_identity`, `key`, `table`. */
  readonly changed: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
  readonly before: unknown;
  readonly after: unknown;
}

/** A definition with the table's name, as records carry it. */
export function definitionRecord(known: KnownTable): Readonly<Record<string, unknown>> {
  return { schema: known.schema, table: known.table, ...known.definition };
}

/** The change from what was known to what is there now, or null when nothing changed. */
export function schemaChange(before: KnownTable | undefined, after: KnownTable): SchemaChange | null {
  if (before === undefined) {
    return { action: 'attach', changed: [], details: {}, before: undefined, after: definitionRecord(after) };
  }
  const columns = columnChanges(before.definition.columns, after.definition.columns);
  const renamed = before.schema !== after.schema || before.table !== after.table;
  const changed = [...columns.paths];
  if (renamed) changed.unshift('table');
  if (before.definition.replica_identity !== after.definition.replica_identity) changed.push('replica_identity');
  if (!sameList(before.definition.key, after.definition.key)) changed.push('key');
  if (!sameList(before.definition.not_captured ?? [], after.definition.not_captured ?? []))
    changed.push('not_captured');
  if (changed.length === 0) return null;
  return {
    action: renamed ? 'rename' : 'alter',
    changed,
    details: columns.details,
    before: definitionRecord(before),
    after: definitionRecord(after),
  };
}

/**
 * The definition with the numbers of its columns filled in where they are certain. The catalog tells them by today's names,
 * which a column that was renamed or dropped since does not have any more; but columns come in the order of their numbers,
 * and a new one always has a higher number than all before it.
 */
export function withNumbers(before: KnownTable | undefined, after: KnownTable): KnownTable {
  if (before === undefined) return after;
  const old = before.definition.columns;
  const now = after.definition.columns;
  const columns = sameColumns(old, now) ? old : numbered(old, now);
  return { ...after, definition: { ...after.definition, columns } };
}

function sameColumns(a: readonly ColumnDefinition[], b: readonly ColumnDefinition[]): boolean {
  return a.length === b.length && a.every((column, i) => column.name === b[i]!.name && column.type === b[i]!.type);
}

function numbered(old: readonly ColumnDefinition[], now: readonly ColumnDefinition[]): ColumnDefinition[] {
  const numbers = now.map((column) => column.number);
  const given = numbers.filter((number) => number !== undefined);
  // Today's names that are not in order belong to other columns than they did then.
  if (given.some((number, i) => i > 0 && number <= given[i - 1]!)) numbers.fill(undefined);
  for (const [i, column] of now.entries()) {
    const known = old.find((one) => one.name === column.name)?.number;
    if (numbers[i] === undefined && known !== undefined && fits(numbers, i, known)) numbers[i] = known;
  }
  const newest = Math.max(0, ...old.map((column) => column.number ?? 0));
  for (let i = 0; i < numbers.length; i++) {
    if (numbers[i] !== undefined) continue;
    let end = i;
    while (end < numbers.length && numbers[end] === undefined) end++;
    fillRun(numbers, i, end, old, newest);
    i = end;
  }
  return now.map(({ name, type }, i) => ({ name, type, ...(numbers[i] === undefined ? {} : { number: numbers[i] }) }));
}

function fits(numbers: readonly (number | undefined)[], at: number, number: number): boolean {
  return numbers.every((other, i) => other === undefined || (i < at ? other < number : other > number));
}

/** Columns without a number between two that have one: old ones, when no new one could stand there. */
function fillRun(
  numbers: (number | undefined)[],
  start: number,
  end: number,
  old: readonly ColumnDefinition[],
  newest: number,
): void {
  const low = start === 0 ? 0 : numbers[start - 1]!;
  const high = numbers[end];
  if (high === undefined || high > newest + 1) return;
  const candidates = old.flatMap(({ number }) =>
    number !== undefined && number > low && number < high ? [number] : [],
  );
  if (candidates.length === end - start) numbers.splice(start, candidates.length, ...candidates);
}

interface ColumnChanges {
  readonly paths: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
}

/** Columns are the same when their number is; without numbers, when their name is. */
function columnChanges(before: readonly ColumnDefinition[], after: readonly ColumnDefinition[]): ColumnChanges {
  const renamed: { from: string; to: string }[] = [];
  const retyped: { column: string; from: string; to: string }[] = [];
  const added: string[] = [];
  const matched = new Set<ColumnDefinition>();
  for (const column of after) {
    const old = counterpart(before, column, matched);
    if (old === undefined) {
      added.push(column.name);
      continue;
    }
    matched.add(old);
    if (old.name !== column.name) renamed.push({ from: old.name, to: column.name });
    if (old.type !== column.type) retyped.push({ column: column.name, from: old.type, to: column.type });
  }
  const dropped = before.filter((column) => !matched.has(column)).map((column) => column.name);
  const names = new Set([
    ...added,
    ...dropped,
    ...renamed.flatMap((r) => [r.from, r.to]),
    ...retyped.map((r) => r.column),
  ]);
  const lists = { added, dropped, renamed, retyped };
  return {
    paths: [...names].map((name) => `columns.${name}`),
    details: Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0)),
  };
}

function counterpart(
  before: readonly ColumnDefinition[],
  column: ColumnDefinition,
  matched: ReadonlySet<ColumnDefinition>,
): ColumnDefinition | undefined {
  const free = before.filter((old) => !matched.has(old));
  const byNumber = column.number === undefined ? undefined : free.find((old) => old.number === column.number);
  if (byNumber !== undefined) return byNumber;
  return free.find((old) => old.name === column.name && (old.number === undefined || column.number === undefined));
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** The definitions known so far, by OID: a table keeps its OID when it is renamed. */
export class KnownTables {
  readonly #tables = new Map<number, KnownTable>();

  /** From the source's kept state, then from newer `schema` records; a table that was detached is forgotten. */
  static restore(
    state: unknown,
    schemas: readonly { readonly object: Readonly<Record<string, unknown>>; readonly after: unknown }[],
  ): KnownTables {
    const known = new KnownTables();
    for (const entry of Array.isArray(state) ? state : []) known.#restoreOne(entry);
    for (const { object, after } of schemas) {
      if (after != null) known.#restoreOne(after);
      else known.#forget(String(object['schema']), String(object['table']));
    }
    return known;
  }

  #restoreOne(entry: unknown): void {
    const { schema, table, ...definition } = entry as { schema?: string; table?: string } & TableDefinition;
    if (schema === undefined || table === undefined || typeof definition.oid !== 'number') return;
    this.set({ schema, table, definition });
  }

  #forget(schema: string, table: string): void {
    for (const [oid, known] of this.#tables)
      if (known.schema === schema && known.table === table) this.#tables.delete(oid);
  }

  get(oid: number): KnownTable | undefined {
    return this.#tables.get(oid);
  }

  set(table: KnownTable): void {
    this.#tables.set(table.definition.oid, table);
  }

  delete(oid: number): void {
    this.#tables.delete(oid);
  }

  oids(): number[] {
    return [...this.#tables.keys()];
  }

  /** For the source's kept state. */
  toJSON(): readonly unknown[] {
    return [...this.#tables.values()].map(definitionRecord);
  }
}
