// What verify says in the end; the shape is public (`verify --json`).
import type { HeadsReport } from './claims.ts';
import type { Finding } from './findings.ts';
import type { Leftovers } from './leftovers.ts';
import type { OutsideHead } from './outside.ts';
import type { GapReport, SourceReport } from './positions.ts';

export interface VerifyReport {
  readonly verdict: 'verified' | 'tampered' | 'incomplete';
  readonly ledger: string;
  readonly origin: string | null;
  /** Records under the published head. */
  readonly size: number | null;
  readonly root: string | null;
  /** Keys that signed the published head. */
  readonly signed_by: readonly string[];
  readonly key_from: 'given' | 'directory' | 'record';
  /** Records whose lines were compared with the tree. */
  readonly compared: number;
  /** Index of the first record that is there. */
  readonly first: number;
  /** Records before `first` that retention removed, and the record that says so. */
  readonly removed: { readonly records: number; readonly index: number } | null;
  /** Records that no head covers yet. */
  readonly unsigned: number;
  readonly heads: HeadsReport;
  readonly outside: readonly OutsideHead[];
  /**
   * From this record on, to the end, nothing from outside speaks for the ledger: whoever holds the signing key could have
   * changed or cut it unseen. Null: nothing is exposed.
   */
  readonly exposed_from: number | null;
  readonly sources: readonly SourceReport[];
  readonly gaps: readonly GapReport[];
  readonly leftovers: Leftovers;
  readonly findings: readonly Finding[];
  readonly tampered: number;
  readonly missing: number;
}
