// Brings the tree up to the ledger: after a start by what the tiles lack, then by each durable end it is told.
import { join } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { replaceFile } from './file-ops.ts';
import { listSegments, segmentPath } from './layout.ts';
import { type LineBlock, lineIndex, readLines } from './lines.ts';
import { TILE_WIDTH, type TreeSize } from './merkle.ts';
import { type TreeState, writeTreeState } from './tree-state.ts';
import { TreeWriter } from './tree-writer.ts';
import type { DurableEnd } from './writer.ts';

export interface FollowerStart {
  /** Directory that holds `tile/`. */
  readonly ledger: string;
  readonly segments: string;
  /** Entries whose tiles are known to be on the disk; a multiple of 256. */
  readonly synced: number;
  /** What was signed last: the rebuilt tree must agree. Null when nothing was. */
  readonly signed: TreeSize | null;
  readonly end: DurableEnd;
}

/** What an integration came to. */
export interface Integrated extends TreeSize {
  /** Entries in full tiles that are not known to be on the disk. */
  readonly unsynced: number;
}

/** Reads the ledger behind its writer and integrates what is durable. */
export class TreeFollower {
  readonly #ledger: string;
  readonly #segments: string;
  readonly #tree: TreeWriter;
  /** First index of the segment to read on in, byte offset in it, and the index of the line that stands there. */
  #segment = 0;
  #broken: { readonly error: unknown } | null = null;
  #offset = 0;
  #index = 0;

  private constructor({ ledger, segments }: FollowerStart, tree: TreeWriter, first: number) {
    this.#ledger = ledger;
    this.#segments = segments;
    this.#tree = tree;
    this.#segment = first;
    this.#index = first;
  }

  /**
   * Rebuilds what the tiles lack, and compares with what was signed.
   * @throws AUD_LEDGER_CONTRADICTION when the lines do not give the signed root, or are fewer than were signed
   */
  static open(start: FollowerStart): TreeFollower {
    const { signed, end } = start;
    if (signed !== null && signed.size > end.next) {
      throw contradiction(`The signed head covers ${signed.size} records; the segments hold ${end.next}`);
    }
    let failure: unknown;
    for (const size of startSizes(start)) {
      try {
        const follower = TreeFollower.#from(start, size);
        follower.integrate(end);
        return follower;
      } catch (error) {
        // The tiles are at fault, or the lines: without the tiles, from the start, tells.
        failure ??= error;
      }
    }
    throw failure;
  }

  static #from(start: FollowerStart, size: number): TreeFollower {
    const { signed, end, ledger, segments } = start;
    const first = listSegments(segments).findLast((segment) => segment.first <= size)?.first ?? 0;
    if (signed !== null) {
      // Compared before a single tile is written: where lines were changed, the old tiles are evidence.
      const trial = new TreeFollower(start, TreeWriter.fromTiles(ledger, size, { dry: true }), first);
      trial.#advance(signed.size, end);
      if (!trial.#tree.root().equals(signed.root)) {
        throw contradiction(`The first ${signed.size} records do not give the root that was signed for them`);
      }
    }
    return new TreeFollower(start, TreeWriter.fromTiles(ledger, size), first);
  }

  /** Entries in the tree. */
  get size(): number {
    return this.#tree.size;
  }

  /** Adds everything up to `end`; tiles are written when many are full, and by `integrate`. @throws as `integrate` */
  advance(end: DurableEnd): void {
    this.#guarded(() => this.#advance(end.next, end));
  }

  /** Adds everything up to `end` and writes the tiles. @throws AUD_LEDGER_WRITE, AUD_LEDGER_CORRUPT; then it is of no more use */
  integrate(end: DurableEnd): Integrated {
    return this.#guarded(() => {
      this.#advance(end.next, end);
      this.#tree.flush();
      return { size: this.#tree.size, root: this.#tree.root(), unsynced: this.#tree.unsynced };
    });
  }

  /** Makes a signed head the published one; durable on return. */
  publish(noteText: string): void {
    this.#guarded(() => replaceFile(join(this.#ledger, 'checkpoint'), noteText));
  }

  /**
   * Makes the oldest full tiles durable, those of about `entries` entries, and notes down how far that is. Returns how many
   * entries in full tiles are left.
   */
  save(path: string, state: Omit<TreeState, 'synced'>, entries: number): number {
    return this.#guarded(() => {
      writeTreeState(path, { ...state, synced: this.#tree.sync(entries) });
      return this.#tree.unsynced;
    });
  }

  /** A tree that failed in the middle of something may hold half of it: a root of it must never be signed. */
  #guarded<T>(work: () => T): T {
    if (this.#broken !== null) throw this.#broken.error;
    try {
      return work();
    } catch (error) {
      this.#broken = { error };
      throw error;
    }
  }

  #advance(size: number, end: DurableEnd): void {
    while (this.#tree.size < size) {
      const last = this.#segment === end.segment;
      const lines = readLines(segmentPath(this.#segments, this.#segment), this.#offset, {
        digestLong: true,
        reuse: true,
        ...(last ? { to: end.offset } : {}),
      });
      for (const block of lines) {
        this.#take(block, size);
        if (this.#tree.size >= size) return;
      }
      if (last) throw contradiction(`The segments end at ${this.#index}, before record ${size - 1}`);
      this.#segment = this.#index;
      this.#offset = 0;
    }
  }

  /** Adds the lines of a block that the tree lacks, but none from `size` on. */
  #take(block: LineBlock, size: number): void {
    if (lineIndex(block.bytes, 0) !== this.#index) {
      throw new AuditError('AUD_LEDGER_CORRUPT', {
        message: `Record ${this.#index} is not where it should be in segment ${this.#segment}.`,
        action: 'Keep the directory, run changetrail verify, and restore the segment from a copy.',
        retry: 'after_operator',
        data: { index: this.#index },
      });
    }
    const from = Math.min(block.ends.length, Math.max(0, this.#tree.size - this.#index));
    const to = Math.min(block.ends.length, size - this.#index);
    this.#tree.addLines(block, from, to);
    this.#index += to;
    this.#offset = block.offset + block.ends[to - 1]!;
  }
}

/** Sizes to start from, the cheapest first; each a multiple of 256 from which on the lines are there. */
function startSizes({ segments, synced, signed, end }: FollowerStart): number[] {
  const oldest = listSegments(segments)[0]?.first ?? 0;
  const known = signed === null ? 0 : Math.min(synced, signed.size);
  const atHead = signed === null ? 0 : signed.size - (signed.size % TILE_WIDTH);
  const sizes = [known - (known % TILE_WIDTH), ...(oldest > 0 ? [atHead] : []), 0];
  const possible = [...new Set(sizes)].filter((size) => size >= oldest && size <= end.next);
  if (possible.length === 0) {
    throw contradiction(`Records before ${oldest} are not there, and neither are the tiles that stand for them`);
  }
  return possible;
}

function contradiction(message: string): AuditError {
  return new AuditError('AUD_LEDGER_CONTRADICTION', {
    message: `${message}.`,
    action: 'Nothing was overwritten or signed. Keep the directory, run changetrail verify, and restore a copy.',
    retry: 'after_operator',
  });
}
