// What the publications leave out of what the configuration wants, and the gap records that say so.
import type { CaptureContext, Published } from './capture-context.ts';
import type { ControlClient } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import type { KnownTables } from './schema-changes.ts';
import { qualified, type SetupPlan } from './setup.ts';
import { currentLsn } from './surroundings.ts';
import type { TableName, WantedTable } from './tables.ts';

export type ShortfallCause =
  /** A captured table was taken out. */
  | 'table_unpublished'
  /** Not every kind of change is sent. */
  | 'publication_altered'
  | 'row_filter'
  | 'column_list';

export interface Shortfall {
  /** The same for the same shortfall, look after look. */
  readonly key: string;
  readonly cause: ShortfallCause;
  /** Null: it is about all tables of the publication. */
  readonly table: TableName | null;
  readonly publication: string;
  /** What does not come: kinds of changes, `rows`, or `columns.<name>`. */
  readonly notSeen: readonly string[];
  /** Whether the plan's statements put it right. */
  readonly mended: boolean;
  /** It was over when it was found. */
  readonly over?: true;
}

/** A shortfall that was recorded and goes on, with the position from which on something may be missing. */
export interface OpenShortfall {
  readonly shortfall: Shortfall;
  readonly from: string;
}

/** What is captured, and what was said of it. */
export interface Captured {
  readonly options: Pick<ResolvedPostgres, 'publication'>;
  readonly known: Pick<KnownTables, 'get'>;
  readonly published: Pick<Published, 'lost'>;
}

/**
 * All there is in the plan. `left`: tables that stay as they are for now. Of one that is published only as a partition, and with INSERT
 * only, UPDATE and DELETE are not seen until it is published on its own.
 */
export function shortfallsOf(
  plan: SetupPlan,
  { options: { publication }, known, published: { lost } }: Captured,
  left: ReadonlySet<number> = new Set(),
): Shortfall[] {
  // A table that was not captured before is new, not lost.
  const unpublished = plan.added.filter(({ oid }) => !plan.covered.has(oid) && known.get(oid) !== undefined);
  const insertOnly = plan.added
    .filter(({ oid, allChanges }) => allChanges && plan.covered.get(oid) === 'insert')
    .map((table) => ({ oid: table.oid, one: shortfall('table_unpublished', table, { publication, notSeen: CHANGES }) }))
    .filter(({ oid, one }) => left.has(oid) || lost.has(one.key));
  return [
    ...insertOnly.map(({ one }) => one),
    ...plan.narrowed.map((one) => shortfall('publication_altered', null, one)),
    ...unpublished.map((table) => shortfall('table_unpublished', table, { publication, notSeen: EVERYTHING })),
    ...plan.restricted.flatMap(({ table, publication: name, filtered, leftOut }) => [
      ...(filtered ? [shortfall('row_filter', table, { publication: name, notSeen: ['rows'] })] : []),
      ...(leftOut === null ? [] : [shortfall('column_list', table, { publication: name, notSeen: paths(leftOut) })]),
    ]),
  ];
}

const EVERYTHING = ['insert', 'update', 'delete', 'truncate'];
/** What the publication for INSERT leaves out. */
const CHANGES = ['update', 'delete'];
const COLUMN = 'columns.';
const paths = (columns: readonly string[]) => columns.map((column) => COLUMN + column);

function shortfall(
  cause: ShortfallCause,
  table: WantedTable | null,
  rest: { readonly publication: string; readonly notSeen: readonly string[]; readonly mended?: boolean },
): Shortfall {
  const key = JSON.stringify([cause, rest.publication, table?.oid, rest.notSeen]);
  return { key, cause, table, mended: true, ...rest };
}

/** A table that was taken out and put back before anybody looked. */
export function shortfallOfTable(publication: string, table: WantedTable): Shortfall {
  return { ...shortfall('table_unpublished', table, { publication, notSeen: EVERYTHING }), over: true };
}

/** A publication that was altered and altered back before anybody looked. */
export function shortfallOfPublication(publication: string): Shortfall {
  return { ...shortfall('publication_altered', null, { publication, notSeen: EVERYTHING }), over: true };
}

/** The shortfall in words, for the log and `doctor`. */
export function describeShortfall({ cause, table, publication, notSeen, over }: Shortfall): string {
  const name = table === null ? '' : qualified(table);
  if (over) {
    const what = table === null ? 'altered, and is as it was' : 'taken out and put back';
    return `${table === null ? `The publication ${publication}` : `${name} of the publication ${publication}`} was ${what}`;
  }
  switch (cause) {
    case 'table_unpublished':
      return notSeen === CHANGES
        ? `${name} is published with INSERT and TRUNCATE only`
        : `${name} was taken out of the publication ${publication}`;
    case 'publication_altered':
      return `The publication ${publication} was altered and does not publish ${notSeen.join(', ')}`;
    case 'row_filter':
      return `The publication ${publication} has a row filter on ${name}: changes of rows outside of it are not sent`;
    case 'column_list': {
      const columns = notSeen.map((path) => path.slice(COLUMN.length)).join(', ');
      const what = columns === '' ? 'later columns are' : `${columns} and later columns are`;
      return `The publication ${publication} has a column list on ${name}: ${what} not sent`;
    }
  }
}

/** Says that something may be missing between the two positions. `to` null: it goes on. */
export function recordShortfall(shortfall: Shortfall, from: string, to: string | null, context: CaptureContext): void {
  const { cause, table, publication, notSeen } = shortfall;
  context.output.control({
    kind: 'gap',
    action: 'gap',
    ...(table === null ? {} : { object: { schema: table.schema, table: table.table } }),
    source: { database: context.facts.database },
    outcome: 'unknown',
    details: { from, to, cause, publication, not_seen: notSeen },
  });
  context.log.error(
    { event: 'gap', cause, ...(table === null ? {} : { table: `${table.schema}.${table.table}` }), from, to },
    `${describeShortfall(shortfall)}. From ${from} ${to === null ? 'on' : `to ${to}`} changes may be missing; a gap record says so.`,
  );
}

/** Says what was put right at `at`, from where on it was wrong. */
export function closeShortfalls(found: readonly Shortfall[], seen: string, at: string, context: CaptureContext): void {
  const { lost } = context.published;
  for (const shortfall of found) {
    recordShortfall(shortfall, lost.get(shortfall.key)?.from ?? seen, at, context);
    lost.delete(shortfall.key);
  }
}

/** Says of what nobody has put right that it goes on, once, and of what somebody has since that it is over. */
export async function followShortfalls(
  client: ControlClient,
  found: readonly Shortfall[],
  seen: string,
  context: CaptureContext,
): Promise<void> {
  const { lost } = context.published;
  for (const shortfall of found) {
    if (lost.has(shortfall.key)) continue;
    lost.set(shortfall.key, { shortfall, from: seen });
    recordShortfall(shortfall, seen, null, context);
  }
  const still = new Set(found.map(({ key }) => key));
  const over = [...lost.values()].filter(({ shortfall }) => !still.has(shortfall.key));
  if (over.length === 0) return;
  const at = await currentLsn(client);
  closeShortfalls(
    over.map(({ shortfall }) => shortfall),
    seen,
    at,
    context,
  );
}
