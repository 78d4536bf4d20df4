// Everything a start looks at before it decides. Changes nothing.
import type { ResumePoint } from '../../src/core/connector.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import { wait } from '../../src/wait.ts';
import { type ControlClient, identifySystem, type SystemIdentity } from './client.ts';
import { type Continuity, type ContinuityInput, decideContinuity, type SourceState } from './continuity.ts';
import type { Held } from './decode/pgoutput.ts';
import type { Undecodable } from './errors.ts';
import type { ResolvedPostgres } from './options.ts';
import type { TableMatcher } from './patterns.ts';
import { readServerFacts, requireCapable, type ServerFacts } from './preflight.ts';
import { checkSlotIsOurs, readSlot, type SlotState } from './slot.ts';
import { sourceState, standsAt } from './standing.ts';
import { currentLsn, lookAround, type Surroundings } from './surroundings.ts';

export interface SurveyInput {
  readonly options: ResolvedPostgres;
  readonly matcher: TableMatcher;
  readonly resume: ResumePoint;
  /** Up to where this process saw the publication in order, newer than what is kept; null at its first start. */
  readonly seen: string | null;
  /** Why the server could not send what comes next, when that ended the last stream. */
  readonly undecodable: Undecodable | null;
}

export interface Survey {
  readonly facts: ServerFacts;
  readonly identity: SystemIdentity;
  /** The log's end before tables and publications were looked at. */
  readonly looked: string;
  readonly around: Surroundings;
  /** Not read by anybody at that moment; null: there is none. */
  readonly slot: SlotState | null;
  /** Up to where the ledger is complete; null: it never saw the source. */
  readonly stands: bigint | null;
  readonly held: Held;
  readonly kept: SourceState | null;
  readonly continuity: Continuity;
}

/** @throws AUD_PG_VERSION and the like: what no start can mend; AUD_PG_SLOT_IN_USE, AUD_PG_SLOT_UNUSABLE */
export async function survey(client: ControlClient, input: SurveyInput, signal: AbortSignal): Promise<Survey> {
  const { options, matcher, resume } = input;
  const facts = await readServerFacts(client);
  requireCapable(facts, options.name);
  const identity = await identifySystem(options.url, options.name);
  const looked = await currentLsn(client);
  const around = await lookAround(client, { options, facts, matcher });
  const free = await freeSlot(client, options, facts.database, signal);
  // A log that was reset: the slot does not know that what it stands before is gone.
  const slot = free !== null && input.undecodable === 'log_removed' ? { ...free, lost: 'wal_removed' } : free;
  const { stands, held } = standsAt(resume);
  const kept = sourceState(resume, input.seen);
  const continuity = decideContinuity({
    stands,
    state: kept,
    identity,
    serverEnd: facts.end,
    slot,
    publication: stands === null ? 'kept' : publicationNow(around, kept, input.undecodable),
    ledgerBehind: resume.ledgerBehind,
  });
  return { facts, identity, looked, around, slot, stands, held, kept, continuity };
}

function publicationNow(
  { mainExists, mainOid }: Surroundings,
  kept: SourceState | null,
  undecodable: Undecodable | null,
): ContinuityInput['publication'] {
  if (!mainExists || undecodable === 'publication_missing') return 'missing';
  if (undecodable === 'publication_unusable') return 'unusable';
  return kept?.publication === undefined || kept.publication === mainOid ? 'kept' : 'replaced';
}

const SLOT_TRIES = 10;
const SLOT_TRY_MS = 200;

/** The slot as it is, once nobody reads it: a connection of ours that has just died is gone in a moment. */
async function freeSlot(
  client: ControlClient,
  options: ResolvedPostgres,
  database: string,
  signal: AbortSignal,
): Promise<SlotState | null> {
  for (let tries = 1; ; tries++) {
    const slot = await readSlot(client, options.slot);
    if (slot === null) return null;
    checkSlotIsOurs(slot, options.slot, database);
    if (slot.activePid === null) return slot;
    if (tries === SLOT_TRIES) throw slotInUse(options, slot.activePid);
    await wait(SLOT_TRY_MS, signal);
  }
}

function slotInUse(options: ResolvedPostgres, pid: number): AuditError {
  return new AuditError('AUD_PG_SLOT_IN_USE', {
    message: `The slot ${options.slot} of source ${options.name} is read by another client (server process ${pid}).`,
    action: `Stop that client, or run: select pg_terminate_backend(${pid});  It is tried again.`,
    retry: 'after_operator',
    data: { pid },
  });
}
