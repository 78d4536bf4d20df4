import type { ActorFact } from '../../src/core/actor.ts';

/**
 * The rung that a logical message's prefix stands for, or null for messages that are none of ours.
 *
 * `_bemi`: written by Bemi's row trigger directly before each row it belongs to. `sequin:transaction_annotations.*`: holds for
 * the changes that follow, until the next one, `clear` or the commit.
 */
export function factOf(prefix: string): ActorFact['via'] | null {
  return VIA.get(prefix) ?? null;
}

/** Prefix of an application's message. */
export const MESSAGE_PREFIX = 'changetrail';
/** Prefix of the session trigger's message. */
export const SESSION_PREFIX = 'changetrail.session';

const VIA: ReadonlyMap<string, ActorFact['via']> = new Map([
  [MESSAGE_PREFIX, 'message'],
  [SESSION_PREFIX, 'session'],
  ['_bemi', 'bemi'],
  ['sequin:transaction_annotations.set', 'sequin'],
  ['sequin:transaction_annotations.clear', 'sequin_clear'],
]);
