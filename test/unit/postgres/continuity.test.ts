import { describe, expect, test } from 'vitest';
import { type ContinuityInput, decideContinuity } from '../../../connectors/postgres/continuity.ts';
import type { SlotState } from '../../../connectors/postgres/slot.ts';

const SLOT: SlotState = { plugin: 'pgoutput', database: 'shop', activePid: null, confirmed: 100n, lost: null };

/** A ledger that stands at 100 (0/64), a slot at the same place, nothing else amiss. */
const GOOD: ContinuityInput = {
  stands: 100n,
  state: { systemId: 'a', timeline: 1, lineage: 1 },
  identity: { systemId: 'a', timeline: 1, history: new Map() },
  serverEnd: 200n,
  slot: SLOT,
  publication: 'kept',
  ledgerBehind: false,
};
const FRESH = { ...GOOD, stands: null, state: null };
const PROMOTED = { systemId: 'a', timeline: 2, history: new Map([[1, '0/64']]) };

const NOTHING = { gap: null, newLineage: false, newSlot: false };
const CASES: readonly [what: string, input: ContinuityInput, expected: object][] = [
  ['all as it was', GOOD, NOTHING],
  ['a slot that lags behind the ledger', { ...GOOD, slot: { ...SLOT, confirmed: 50n } }, NOTHING],
  ['the first start, nothing set up', { ...FRESH, slot: null }, { gap: null, newLineage: false, newSlot: true }],
  ['the first start on a slot somebody made', FRESH, NOTHING],
  [
    'no slot',
    { ...GOOD, slot: null },
    { gap: { cause: 'slot_missing', from: 100n }, newLineage: false, newSlot: true },
  ],
  [
    'an invalidated slot',
    { ...GOOD, slot: { ...SLOT, lost: 'wal_removed' } },
    { gap: { cause: 'slot_invalidated', from: 100n, detail: 'wal_removed' }, newLineage: false, newSlot: true },
  ],
  [
    'a slot ahead of the ledger',
    { ...GOOD, slot: { ...SLOT, confirmed: 101n } },
    { gap: { cause: 'slot_advanced', from: 100n }, newLineage: false, newSlot: false },
  ],
  [
    'a slot ahead of an old copy of the ledger',
    { ...GOOD, slot: { ...SLOT, confirmed: 101n }, ledgerBehind: true },
    { gap: { cause: 'ledger_restored', from: 100n }, newLineage: false, newSlot: false },
  ],
  [
    'an empty ledger where there was one',
    { ...GOOD, stands: null, ledgerBehind: true },
    { gap: { cause: 'ledger_restored', from: 0n }, newLineage: false, newSlot: false },
  ],
  [
    'no publication: from where it was last seen',
    { ...GOOD, publication: 'missing', state: { ...GOOD.state!, seen: '0/50' } },
    { gap: { cause: 'publication_missing', from: 80n }, newLineage: false, newSlot: true },
  ],
  [
    'a publication by which the server cannot decode: past it with a new slot',
    { ...GOOD, publication: 'unusable', state: { ...GOOD.state!, seen: '0/50' } },
    { gap: { cause: 'publication_unusable', from: 80n }, newLineage: false, newSlot: true },
  ],
  [
    'a publication made anew',
    { ...GOOD, publication: 'replaced', state: { ...GOOD.state!, seen: '0/50' } },
    { gap: { cause: 'publication_replaced', from: 80n }, newLineage: false, newSlot: false },
  ],
  [
    'another cluster',
    { ...GOOD, identity: { ...GOOD.identity, systemId: 'b' }, slot: null },
    { gap: { cause: 'other_cluster', from: 100n }, newLineage: true, newSlot: true },
  ],
  [
    'another cluster, and no record tells the position',
    { ...GOOD, stands: null, identity: { ...GOOD.identity, systemId: 'b' } },
    { gap: { cause: 'other_cluster', from: 0n }, newLineage: true, newSlot: false },
  ],
  ['a promoted standby that had all of it', { ...GOOD, identity: PROMOTED }, NOTHING],
  [
    'a promoted standby that lacks the end',
    { ...GOOD, stands: 101n, identity: PROMOTED, slot: null },
    {
      gap: { cause: 'timeline_diverged', from: 100n, detail: 'switched at 0/64' },
      newLineage: true,
      newSlot: true,
    },
  ],
  [
    'a timeline whose history does not tell where ours ended',
    { ...GOOD, identity: { ...PROMOTED, history: new Map() } },
    { gap: { cause: 'other_timeline', from: 100n }, newLineage: true, newSlot: false },
  ],
  [
    'an older timeline',
    { ...GOOD, state: { ...GOOD.state!, timeline: 2 } },
    { gap: { cause: 'other_timeline', from: 100n }, newLineage: true, newSlot: false },
  ],
  [
    'a server whose log ends before the ledger',
    { ...GOOD, serverEnd: 99n },
    { gap: { cause: 'server_behind', from: 100n }, newLineage: true, newSlot: false },
  ],
];

describe('whether the log goes on where the ledger ends', () => {
  test.each(CASES)('%s', (_what, input, expected) => {
    expect(decideContinuity(input)).toEqual(expected);
  });
});
