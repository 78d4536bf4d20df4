// Whether the log can be read on from where the ledger ends: a pure decision, so that every case is a row of a test.
import type { SystemIdentity } from './client.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import type { SlotState } from './slot.ts';

/** What is remembered between starts beside the position. */
export interface SourceState {
  readonly systemId: string;
  readonly timeline: number;
  /** Counts the logs this source has had; a later one starts its LSNs anew. */
  readonly lineage: number;
  /** Everything before it was published: the log's end when the publication was last seen to be there. */
  readonly seen?: string;
  /** Names of the publications that the stream asks for. */
  readonly streamed?: readonly string[];
  /** A publication that was dropped and made again has another OID, and published nothing in between. */
  readonly publication?: number;
}

export interface ContinuityInput {
  /** Everything before it is in the ledger (or nothing was there); null: this ledger never saw the source. */
  readonly stands: bigint | null;
  readonly state: SourceState | null;
  readonly identity: SystemIdentity;
  /** End of the server's log now. */
  readonly serverEnd: bigint;
  readonly slot: SlotState | null;
  /**
   * What became of the publication: `missing` (or missing in the log that is still to be read, which the server then refuses
   * to decode), `unusable` there (its column lists contradict each other), `replaced` by another of the same name.
   */
  readonly publication: 'kept' | 'missing' | 'unusable' | 'replaced';
  /** An old copy of the ledger was put back: what the slot is ahead by was captured once, and is gone. */
  readonly ledgerBehind: boolean;
}

export type GapCause =
  | 'other_cluster'
  | 'other_timeline'
  | 'timeline_diverged'
  | 'server_behind'
  | 'slot_missing'
  | 'slot_invalidated'
  | 'slot_advanced'
  | 'ledger_restored'
  | 'publication_missing'
  | 'publication_unusable'
  | 'publication_replaced';

export interface Continuity {
  /** Null: nothing is missing. */
  readonly gap: { readonly cause: GapCause; readonly from: bigint; readonly detail?: string } | null;
  /** LSNs start anew: what the ledger holds says nothing of which changes it has. */
  readonly newLineage: boolean;
  /** The slot must be made anew (dropped first where one is there). */
  readonly newSlot: boolean;
}

export function decideContinuity(input: ContinuityInput): Continuity {
  const { stands, slot } = input;
  const undecodable = input.publication === 'missing' || input.publication === 'unusable';
  const unusable = slot === null || slot.lost !== null || undecodable;
  const other = otherLog(input, stands ?? 0n);
  if (other !== null) return { gap: other, newLineage: true, newSlot: unusable };
  if (stands === null) {
    // An empty ledger beside a position file had records once.
    const lost = input.ledgerBehind ? ({ cause: 'ledger_restored', from: 0n } as const) : null;
    return { gap: lost, newLineage: false, newSlot: unusable };
  }
  const from = input.publication === 'kept' ? stands : publishedUpTo(input.state, stands);
  if (slot === null) return gap('slot_missing', from);
  if (slot.lost !== null) return gap('slot_invalidated', from, slot.lost);
  if (input.publication === 'missing') return gap('publication_missing', from);
  if (input.publication === 'unusable') return gap('publication_unusable', from);
  if (slot.confirmed !== null && slot.confirmed > stands) {
    const cause = input.ledgerBehind ? 'ledger_restored' : 'slot_advanced';
    return { gap: { cause, from }, newLineage: false, newSlot: false };
  }
  if (input.publication === 'replaced') {
    return { gap: { cause: 'publication_replaced', from }, newLineage: false, newSlot: false };
  }
  return { gap: null, newLineage: false, newSlot: false };
}

/** The stream may have gone on without changes after the publication vanished. */
export function publishedUpTo(state: SourceState | null, stands: bigint): bigint {
  const seen = state?.seen === undefined ? stands : parseLsn(state.seen);
  return seen < stands ? seen : stands;
}

function gap(cause: GapCause, from: bigint, detail?: string): Continuity {
  return { gap: { cause, from, ...(detail === undefined ? {} : { detail }) }, newLineage: false, newSlot: true };
}

/** Another cluster, or another line of this one's history, answers at the same address. */
function otherLog(input: ContinuityInput, stands: bigint): Continuity['gap'] {
  const { state, identity } = input;
  if (state !== null && state.systemId !== identity.systemId) return { cause: 'other_cluster', from: stands };
  if (state !== null && identity.timeline < state.timeline) return { cause: 'other_timeline', from: stands };
  if (state !== null && identity.timeline > state.timeline) {
    const ended = identity.history.get(state.timeline);
    const switched = ended === undefined ? null : parseLsn(ended);
    // Beyond the switch the ledger holds changes that the promoted server never had.
    if (switched === null) return { cause: 'other_timeline', from: stands };
    if (stands > switched)
      return { cause: 'timeline_diverged', from: switched, detail: `switched at ${formatLsn(switched)}` };
  }
  if (input.serverEnd < stands) return { cause: 'server_behind', from: stands };
  return null;
}
