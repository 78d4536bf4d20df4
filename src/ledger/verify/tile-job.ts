// The tiles under one tile of level 1 (65,536 entries): bundles against leaves, leaves against the level above.
import { HASH_BYTES, TILE_BYTES, TILE_WIDTH } from '../merkle.ts';
import { ENTRY_BYTES, foldInto, leavesInto, peaks } from '../tile-hash.ts';
import { BUNDLE_BYTES, type TileKind, tilePath, tileWidth } from '../tiles.ts';
import { Findings } from './findings.ts';
import { entriesUnder, lookAtTile } from './look-at-tile.ts';

/** Entries under a tile of level 1. */
export const SPAN = TILE_WIDTH * TILE_WIDTH;

export interface TileJob {
  readonly job: 'tiles';
  readonly ledger: string;
  /** Number of the tile of level 1. */
  readonly n: number;
  readonly size: number;
  /** Bundles and leaves wholly before this entry are not looked at. */
  readonly from: number;
}

export interface TileResult {
  readonly findings: Pick<Findings, 'list' | 'tampered' | 'missing'>;
  /** Roots of the perfect trees these entries fall into, largest first; null when a tile that they need is missing. */
  readonly peaks: readonly Buffer[] | null;
  readonly checked: number;
}

export function checkTiles(job: TileJob): TileResult {
  return new TileCheck(job).run();
}

class TileCheck {
  readonly #job: TileJob;
  readonly #findings = new Findings();
  readonly #leaves = Buffer.alloc(TILE_BYTES);
  readonly #level1 = Buffer.alloc(TILE_BYTES);
  #complete = true;
  #checked = 0;

  constructor(job: TileJob) {
    this.#job = job;
  }

  run(): TileResult {
    const { n, size, from } = this.#job;
    const bottom = Math.ceil(Math.min(size - n * SPAN, SPAN) / TILE_WIDTH);
    const full = tileWidth(1, n, size);
    const file = full === 0 ? null : this.#tile(1, n, full);
    let rest: Buffer[] = [];
    for (let i = 0; i < bottom; i++) {
      const place = n * TILE_WIDTH + i;
      if ((place + 1) * TILE_WIDTH <= from && file !== null) {
        file.copy(this.#level1, i * HASH_BYTES, i * HASH_BYTES, (i + 1) * HASH_BYTES);
        continue;
      }
      const width = tileWidth(0, place, size);
      if (!this.#bottomTile(place, width)) continue;
      if (width === TILE_WIDTH) foldInto(this.#leaves, 0, TILE_WIDTH, this.#level1, i * HASH_BYTES);
      else rest = peaks(this.#leaves, width);
    }
    if (file !== null && this.#complete) this.#sameTile(1, n, file, this.#level1.subarray(0, full * HASH_BYTES));
    const { list, tampered, missing } = this.#findings;
    return {
      findings: { list, tampered, missing },
      peaks: this.#complete ? [...peaks(this.#level1, full), ...rest] : null,
      checked: this.#checked,
    };
  }

  /** Computes the leaves of a bundle and compares them with their tile; false when they could not be had. */
  #bottomTile(n: number, width: number): boolean {
    const bundle = this.#tile('entries', n, width);
    const tile = this.#tile(0, n, width);
    if (bundle === null) {
      this.#complete = false;
      return false;
    }
    for (let slot = 0; slot < width; slot++) {
      const at = slot * ENTRY_BYTES;
      if (bundle[at] !== 0 || bundle[at + 1] !== HASH_BYTES) {
        this.#damaged('bundle_damaged', 'entries', n, `its entry ${slot} has not the length of a hash`);
        this.#complete = false;
        return false;
      }
    }
    leavesInto(bundle, width, this.#leaves);
    this.#checked += width;
    if (tile !== null) this.#sameTile(0, n, tile, this.#leaves.subarray(0, width * HASH_BYTES));
    return true;
  }

  #tile(kind: TileKind, n: number, width: number): Buffer | null {
    const bytes = lookAtTile(this.#job.ledger, kind, n, this.#job.size, this.#findings);
    if (bytes === 'unreadable') return null;
    const wanted = width * (kind === 'entries' ? ENTRY_BYTES : HASH_BYTES);
    if (bytes !== null && bytes.length === wanted && bytes.length <= BUNDLE_BYTES) return bytes;
    if (bytes === null) {
      const message = `tile/${tilePath(kind, n, width)} is missing`;
      this.#findings.add({
        level: 'missing',
        what: 'tile_missing',
        message,
        index: n * TILE_WIDTH * entriesUnder(kind),
      });
    } else {
      this.#damaged('tile_damaged', kind, n, `it has ${bytes.length} bytes and not ${wanted}`);
    }
    return null;
  }

  #sameTile(level: number, n: number, file: Buffer, computed: Buffer): void {
    if (file.equals(computed)) return;
    let slot = 0;
    while (file.compare(computed, slot, slot + HASH_BYTES, slot, slot + HASH_BYTES) === 0) slot += HASH_BYTES;
    this.#damaged('tile_damaged', level, n, `hash ${slot / HASH_BYTES} is not that of what it stands for`);
  }

  #damaged(what: 'bundle_damaged' | 'tile_damaged', kind: TileKind, n: number, why: string): void {
    const message = `tile/${tilePath(kind, n)} is damaged: ${why}`;
    this.#findings.add({ level: 'tampered', what, message, index: n * TILE_WIDTH * entriesUnder(kind) });
  }
}
