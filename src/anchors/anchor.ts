// Heads kept where the operator of the ledger cannot rewrite them: the interface every anchor meets.
import type { Head, VerifierKey } from '../ledger/note.ts';

/** What an anchor is given about the ledger. */
export interface AnchoredLedger {
  readonly origin: string;
  /** Keys whose heads are this ledger's own. */
  keys(): readonly VerifierKey[];
  /** Proof that the tree of `older` entries is a prefix of that of `newer`. */
  consistency(older: number, newer: number): readonly Buffer[];
}

/** What an anchor answers to a head. Not to be reached is a throw. */
export type AnchorAnswer =
  /** It holds the head now; `signatures` are lines a witness adds to the note. */
  | { readonly answer: 'held'; readonly signatures: readonly string[] }
  /** It holds a head of more entries than this one. */
  | { readonly answer: 'ahead'; readonly size: number }
  /** It holds a head that is not of the same records. */
  | { readonly answer: 'fork'; readonly size: number };

export interface Anchor {
  readonly name: string;
  /**
   * The newest head it holds, or null when it holds none. `undefined`: it keeps heads but does not hand them out (a
   * witness); `put` then tells of a rollback or fork.
   * @throws AUD_LEDGER_ANCHOR when it cannot be asked
   */
  latest(ledger: AnchoredLedger, signal: AbortSignal): Promise<Head | null | undefined>;
  /** @throws AUD_LEDGER_ANCHOR when it cannot be reached or does not take it */
  put(head: Head, ledger: AnchoredLedger, signal: AbortSignal): Promise<AnchorAnswer>;
}
