// From what a start has found to a source that can be streamed: what is missing is set up where that is allowed, and everything that
// was lost is said before the first change.
import type { ResumePoint, SourceHost } from '../../src/core/connector.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import { recordGap, recordStart } from './announce.ts';
import type { CaptureContext } from './capture-context.ts';
import { attach, recordDetached, recordLimits } from './captured-tables.ts';
import type { ControlClient } from './client.ts';
import { publishedUpTo, type SourceState } from './continuity.ts';
import type { Held } from './decode/pgoutput.ts';
import { formatLsn, maxLsn, parseLsn } from './lsn.ts';
import { recordMeanwhile } from './meanwhile.ts';
import type { ResolvedPostgres } from './options.ts';
import type { TableMatcher } from './patterns.ts';
import type { PublicationMarks } from './publications.ts';
import { KnownTables } from './schema-changes.ts';
import {
  applyApart,
  applyPlan,
  dropSlotStatement,
  isLocked,
  type SetupPlan,
  slotStatement,
  tablesOf,
} from './setup.ts';
import { closeShortfalls, followShortfalls, type Shortfall, shortfallsOf } from './shortfalls.ts';
import { createSlot } from './slot.ts';
import { currentLsn, lookAround, type Surroundings } from './surroundings.ts';
import type { Survey } from './survey.ts';
import { TypeCatalog } from './types.ts';
import { publicationLost, streamedTables } from './watch.ts';

export interface OpeningInput {
  readonly options: ResolvedPostgres;
  readonly matcher: TableMatcher;
  readonly host: SourceHost;
  readonly resume: ResumePoint;
  /** What this process opened before: what it said of tables is not said again at every reconnection. */
  readonly last: CaptureContext | null;
}

/** A source that is set up, announced and ready to be streamed. */
export interface Opened {
  readonly context: CaptureContext;
  readonly state: SourceState;
  /** Where the stream begins. */
  readonly start: bigint;
  /** What is dropped when the server sends it again. */
  readonly held: Held;
}

/** @throws AUD_PG_SETUP, AUD_PG_SLOT_LOST, AUD_PG_PUBLICATION_LOST: what `setup: manual` leaves to the operator */
export async function openSource(client: ControlClient, seen: Survey, input: OpeningInput): Promise<Opened> {
  const { options, host } = input;
  const { continuity, around, stands } = seen;
  const state = nextState(seen);
  const context = captureContext(seen, state, input);
  const published = formatLsn(publishedUpTo(seen.kept, stands ?? parseLsn(seen.looked)));
  // Until all is said, what is kept has it from there on.
  context.published.seen = published;
  const found = shortfallsOf(around.plan, context, knownIn(around.plan, context));
  if (options.setup === 'manual') {
    if (around.mainExists) await followShortfalls(client, found, published, context);
    requireSetUp(options, seen);
  }
  const from = await setUp(client, seen, input);
  const replaced = continuity.gap?.cause === 'publication_replaced';
  recordGap(continuity, replaced ? parseLsn(seen.looked) : from, seen.facts.database, host);
  const now = await lookAround(client, context);
  if (options.setup === 'auto') await recordShortfalls(client, { found, published, now }, seen, context);
  joinPublications(now, seen, context);
  const start = continuity.newLineage ? from : (maxLsn(stands, from) ?? from);
  recordStart(context, state, { previous: stands, from: start }, around.selection);
  const at = continuity.newSlot ? formatLsn(from) : await currentLsn(client);
  // What a lock has kept from being set up is no different from what it was; the looks beside the stream go on with it.
  const left = options.setup === 'auto' ? tablesOf(now.plan) : new Set<number>();
  const settled = around.selection.wanted.filter(({ oid }) => !left.has(oid));
  await attach(client, streamedTables(settled, context), at, context);
  recordLimits(settled, at, context);
  const gone = around.plan.removed.filter((oid) => !left.has(oid));
  if (options.setup === 'auto') recordDetached(gone, context);
  // After all that may fail: a start that is made again must not say it again.
  if (stands !== null && continuity.gap === null) {
    await recordMeanwhile(client, around, { found, seen: published }, context);
  }
  context.published.marks = now.marks;
  context.published.seen = seen.looked;
  context.remember();
  // Only a start that does not follow the ledger's last record: there the position says what the record cannot.
  if (stands === null || continuity.gap !== null) host.output.idle(formatLsn(start));
  return { context, state, start, held: continuity.newLineage ? { lsn: 0n, seq: -1 } : seen.held };
}

function nextState({ identity, kept, continuity }: Survey): SourceState {
  return {
    systemId: identity.systemId,
    timeline: identity.timeline,
    lineage: (kept?.lineage ?? 1) + (continuity.newLineage ? 1 : 0),
  };
}

function captureContext(seen: Survey, state: SourceState, input: OpeningInput): CaptureContext {
  const { options, matcher, host } = input;
  const context: CaptureContext = {
    options,
    facts: seen.facts,
    matcher,
    types: new TypeCatalog(),
    known: knownTables(seen, input.resume),
    published: {
      seen: seen.looked,
      keptAt: host.now(),
      joinAt: null,
      publication: seen.around.mainOid,
      marks: marksBefore(seen, input),
      lost: new Map(),
    },
    streamed: new Set(),
    limits: seen.continuity.gap === null && input.last !== null ? input.last.limits : new Map(),
    output: host.output,
    log: host.log,
    remember: () => {
      const { published, streamed, known } = context;
      const { seen: upTo, publication, marks } = published;
      host.remember({ ...state, seen: upTo, publication, marks, streamed: [...streamed], tables: known.toJSON() });
    },
  };
  return context;
}

/** What the last look saw: of this process, else of the one before. */
function marksBefore({ kept }: Survey, { last, resume }: OpeningInput): PublicationMarks | null {
  if (last !== null) return last.published.marks;
  const marks = kept?.systemId === resume.state?.['systemId'] ? resume.state?.['marks'] : null;
  return (marks ?? null) as PublicationMarks | null;
}

/** OIDs of another cluster are other tables. */
function knownTables({ continuity, kept }: Survey, resume: ResumePoint): KnownTables {
  const elsewhere = continuity.gap?.cause === 'other_cluster';
  const keptElsewhere = kept?.systemId !== resume.state?.['systemId'];
  return KnownTables.restore(
    elsewhere || keptElsewhere ? undefined : resume.state?.['tables'],
    elsewhere ? [] : resume.schemas,
  );
}

/** Without `setup: auto` nothing is created: the SQL is said, with exit 2 on a first start and 3 when history is lost. */
function requireSetUp(options: ResolvedPostgres, { around, slot, continuity }: Survey): void {
  const needsSlot = slot === null || slot.lost !== null;
  if (continuity.gap !== null && continuity.newSlot) {
    if (!around.mainExists) throw publicationLost(options, around.plan);
    const drop = slot === null ? [] : [dropSlotStatement(options.slot)];
    const statements = [...around.plan.statements, ...drop, slotStatement(options.slot)];
    throw new AuditError('AUD_PG_SLOT_LOST', {
      message: `The slot ${options.slot} of source ${options.name} is ${slot === null ? 'gone' : `not usable any more (${slot.lost ?? continuity.gap.cause})`}.`,
      action: `Run: ${statements.join('; ')};  or set setup: auto. The changes in between are lost; a gap record will say so.`,
    });
  }
  if (around.mainExists && around.plan.added.length === 0 && !needsSlot) return;
  const statements = [...around.plan.statements, ...(needsSlot ? [slotStatement(options.slot)] : [])];
  throw new AuditError('AUD_PG_SETUP', {
    message: `Source ${options.name} is not set up, and setup: manual does not allow to do it.`,
    action: `Run this SQL as the tables' owner, or set setup: auto:\n\n  ${statements.join(';\n  ')};\n`,
    data: { statements },
  });
}

function knownIn(plan: SetupPlan, { known }: CaptureContext): ReadonlySet<number> {
  return new Set([...tablesOf(plan)].filter((oid) => known.get(oid) !== undefined));
}

/** Does what is to be done and returns the position from which on the slot sees everything. */
async function setUp(
  client: ControlClient,
  { around, slot, continuity }: Survey,
  { options, host: { log } }: OpeningInput,
): Promise<bigint> {
  if (options.setup === 'auto' && around.plan.statements.length > 0) {
    try {
      await applyPlan(client, around.plan);
    } catch (error) {
      if (!isLocked(error) || continuity.newSlot || around.plan.steps.length === 0) throw error;
      await applyApart(client, around.plan);
    }
    log.info(
      { event: 'publication_set_up', statements: around.plan.statements },
      `Set up the publication ${options.publication}.`,
    );
  }
  if (!continuity.newSlot) return slot?.confirmed ?? 0n;
  if (slot !== null) await client.query(dropSlotStatement(options.slot));
  log.info(
    { event: 'slot_creating', slot: options.slot },
    `Creates the slot ${options.slot}; the server waits for running transactions to end.`,
  );
  return createSlot(client, options.slot);
}

/** What the publications left out until they were put right just now. A gap of the whole source says it already. */
async function recordShortfalls(
  client: ControlClient,
  { found, published, now }: { found: readonly Shortfall[]; published: string; now: Surroundings },
  { continuity, around, stands }: Survey,
  context: CaptureContext,
): Promise<void> {
  const still = shortfallsOf(now.plan, context, tablesOf(now.plan));
  const mended = found.filter((one) => one.mended && !still.some(({ key }) => key === one.key));
  if (mended.length > 0 && stands !== null && continuity.gap === null && !around.plan.creates) {
    closeShortfalls(mended, published, await currentLsn(client), context);
  }
  await followShortfalls(client, still, published, context);
}

/** Which publications the stream asks for: one that the slot's place in the log may lie before is joined later. */
function joinPublications(around: Surroundings, { continuity, stands, kept }: Survey, context: CaptureContext): void {
  const { options, published, streamed } = context;
  published.publication = around.mainOid;
  const reads = continuity.newSlot || stands === null ? undefined : kept?.streamed;
  for (const name of around.publications) {
    if (name === options.publication || reads === undefined || reads.includes(name)) streamed.add(name);
  }
}
