// `tree.json` beside the ledger: how much of the tree is on the disk, and what was signed and announced last. Lost, it is
// made again; it is no evidence, and verify reads of it only which keys there are when none is given.
import { existsSync, readFileSync } from 'node:fs';
import { replaceFile } from './file-ops.ts';

export interface TreeState {
  /** Entries whose full tiles were synced; a multiple of 256. */
  readonly synced: number;
  /** The note of a head that was published. */
  readonly head: string | null;
  /** Verifier keys that signed it and were made known. */
  readonly keys: readonly string[];
}

/** What the file says, or null when it is not there or not whole. */
export function readTreeState(path: string): TreeState | null {
  if (!existsSync(path)) return null;
  try {
    const { synced, head, keys } = JSON.parse(readFileSync(path, 'utf8')) as Partial<TreeState>;
    if (typeof synced !== 'number' || !Number.isSafeInteger(synced) || synced < 0) return null;
    return { synced, head: typeof head === 'string' ? head : null, keys: Array.isArray(keys) ? keys : [] };
  } catch {
    // Not JSON: the tree is then made again from the start of the ledger.
    return null;
  }
}

export function writeTreeState(path: string, state: TreeState): void {
  replaceFile(path, `${JSON.stringify(state)}\n`);
}
