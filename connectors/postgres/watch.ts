// Beside the stream: tables that come and go, the publication and the slot that somebody may take away.
import { AuditError } from '../../src/errors/audit-error.ts';
import type { CaptureContext } from './capture-context.ts';
import { attach, recordDetached, recordDropped, recordLifted, recordLimits } from './captured-tables.ts';
import type { ControlClient } from './client.ts';
import { parseLsn } from './lsn.ts';
import { keepMarks, recordMeanwhile } from './meanwhile.ts';
import type { ResolvedPostgres } from './options.ts';
import { applyApart, applyPlan, isLocked, qualified, type SetupPlan, tablesOf } from './setup.ts';
import { closeShortfalls, followShortfalls, type Shortfall, shortfallsOf } from './shortfalls.ts';
import { readSlot, type SlotState } from './slot.ts';
import { currentLsn, lookAround, type Surroundings } from './surroundings.ts';
import type { WantedTable } from './tables.ts';

/** One look while streaming. @throws AUD_PG_PUBLICATION_LOST, AUD_PG_SLOT_LOST: opening again says what is missing. */
export async function watchOnce(client: ControlClient, context: CaptureContext, warned: Set<string>): Promise<void> {
  const { options, published } = context;
  const before = await currentLsn(client);
  const around = await lookAround(client, context);
  if (!around.mainExists || around.mainOid !== published.publication) throw publicationLost(options, around.plan);
  const slot = await readSlot(client, options.slot);
  if (slot === null || slot.lost !== null) throw slotLost(options, slot);
  await joinPublications(client, around, slot, context);
  recordDropped(around, context);
  const found = shortfallsOf(around.plan, context);
  await recordMeanwhile(client, around, { found, seen: published.seen }, context);
  if (options.setup === 'manual') warnOfPlan(around.plan, context, warned);
  if (options.setup === 'manual' || around.plan.statements.length === 0) {
    await followShortfalls(client, found, published.seen, context);
    keepMarks(around.marks, context);
    return sawPublished(before, context);
  }
  let still: Left;
  try {
    still = await apply(client, around.plan, context);
  } catch (error) {
    // What could not be put right (no right to, a table that has just gone, the connection) goes on, and is said at once.
    await followShortfalls(client, found, published.seen, context);
    keepMarks(around.marks, context);
    throw error;
  }
  await recordApplied(client, around, still, { found, context });
  warnOfLocked(around, still, context, warned);
}

/**
 * Where somebody holds a lock on a table the others must not wait for it, least of all one that makes writes fail as it is. A look
 * afterwards tells what could be done.
 */
async function apply(client: ControlClient, plan: SetupPlan, context: CaptureContext): Promise<Left> {
  try {
    await applyPlan(client, plan);
    return NOTHING_LEFT;
  } catch (error) {
    if (!isLocked(error) || plan.steps.length === 0) throw error;
  }
  await applyApart(client, plan);
  const { plan: still } = await lookAround(client, context);
  return { left: tablesOf(still), plan: still };
}

function warnOfLocked({ selection }: Surroundings, { left }: Left, context: CaptureContext, warned: Set<string>): void {
  const names = selection.wanted.filter(({ oid }) => left.has(oid)).map(qualified);
  const key = names.join(', ');
  if (names.length === 0 || warned.has(key)) return;
  warned.add(key);
  context.log.warn(
    { event: 'tables_locked', tables: names.slice(0, LISTED), action: LOCKED_ACTION },
    `${names.length} table${names.length === 1 ? ' is' : 's are'} locked by somebody (${names.slice(0, LISTED).join(', ')}) and captured as configured once that ends.`,
  );
}

/** Tables named in a warning. */
const LISTED = 20;
const LOCKED_ACTION =
  'See who: select pid, mode, relation::regclass from pg_locks where granted and relation is not null;';

/** What could not be applied: tables by OID, and what a look says is still to be done. */
interface Left {
  readonly left: ReadonlySet<number>;
  readonly plan: SetupPlan | null;
}

const NOTHING_LEFT: Left = { left: new Set(), plan: null };

/** The records of what the plan has changed. */
async function recordApplied(
  client: ControlClient,
  { plan, selection }: Surroundings,
  { left, plan: still }: Left,
  { found, context }: { readonly found: readonly Shortfall[]; readonly context: CaptureContext },
): Promise<void> {
  const { published } = context;
  const at = await currentLsn(client);
  const open = still === null ? found.filter((one) => !one.mended) : shortfallsOf(still, context, left);
  const isOver = (one: Shortfall) => one.mended && !open.some(({ key }) => key === one.key);
  closeShortfalls(found.filter(isOver), published.seen, at, context);
  await followShortfalls(client, open, published.seen, context);
  const added = plan.added.filter(({ oid }) => !left.has(oid));
  await attach(client, streamedTables(added, context), at, context);
  const settled = selection.wanted.filter(({ oid }) => !left.has(oid));
  recordLimits(settled, at, context);
  for (const table of added) {
    // A new partition, of which only INSERT was published until now.
    if (table.allChanges && plan.covered.get(table.oid) === 'insert') recordLifted(table, at, context);
  }
  recordDetached(
    plan.removed.filter((oid) => !left.has(oid)),
    context,
  );
  keepMarks((await lookAround(client, context)).marks, context);
  sawPublished(at, context);
}

/**
 * A publication that came after the stream began (somebody ran the printed SQL) is not in it, and before PostgreSQL 18 the server
 * refuses to read one at a point of the log where it did not exist. So the stream is opened again once that point is behind it.
 * @throws AUD_PG_PUBLICATION_ADDED then.
 */
async function joinPublications(
  client: ControlClient,
  around: Surroundings,
  slot: SlotState,
  { published, streamed, options, remember }: CaptureContext,
): Promise<void> {
  const added = around.publications.find((name) => !streamed.has(name));
  if (added === undefined) {
    published.joinAt = null;
  } else if (published.joinAt === null) {
    published.joinAt = parseLsn(await currentLsn(client));
  } else if (slot.confirmed !== null && slot.confirmed >= published.joinAt) {
    streamed.add(added);
    remember();
    throw new AuditError('AUD_PG_PUBLICATION_ADDED', {
      message: `The publication ${added} of source ${options.name} is new.`,
      action: 'The stream is opened again to read it.',
      retry: 'soon',
    });
  }
}

/** The tables whose publication the stream asks for; the others are captured from its next start on. */
export function streamedTables(
  tables: readonly WantedTable[],
  { streamed, options }: Pick<CaptureContext, 'streamed' | 'options'>,
): readonly WantedTable[] {
  return streamed.has(options.insertPublication) ? tables : tables.filter((table) => table.allChanges);
}

/** After a crash a gap may begin this much too early; keeping more often would write all known tables each time. */
const KEEP_SEEN_MS = 60_000;

function sawPublished(lsn: string, { published, remember }: CaptureContext): void {
  if (published.seen === lsn) return;
  published.seen = lsn;
  if (Date.now() - published.keptAt < KEEP_SEEN_MS) return;
  published.keptAt = Date.now();
  remember();
}

function warnOfPlan(plan: SetupPlan, context: CaptureContext, warned: Set<string>): void {
  const fresh = plan.statements.filter((statement) => !warned.has(statement));
  for (const statement of fresh) warned.add(statement);
  if (fresh.length === 0) return;
  context.log.warn(
    { event: 'setup_needed', action: `${fresh.join(';\n           ')};` },
    'Tables and publication do not fit the configured patterns; with `setup: manual` nothing is changed.',
  );
}

export function publicationLost(options: ResolvedPostgres, plan: SetupPlan): AuditError {
  return new AuditError('AUD_PG_PUBLICATION_LOST', {
    message: `The publication ${options.publication} of source ${options.name} was dropped: changes are not sent any more.`,
    action:
      options.setup === 'auto' ? 'It is created again.' : `Run: ${plan.statements.join('; ')};  or set setup: auto.`,
    retry: options.setup === 'auto' || plan.statements.length === 0 ? 'soon' : 'never',
  });
}

function slotLost(options: ResolvedPostgres, slot: SlotState | null): AuditError {
  return new AuditError('AUD_PG_SLOT_LOST', {
    message: `The slot ${options.slot} of source ${options.name} ${slot === null ? 'was dropped' : `was invalidated (${slot.lost})`}.`,
    retry: 'soon',
  });
}
