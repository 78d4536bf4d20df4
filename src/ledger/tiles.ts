// Tiles and entry bundles as C2SP tlog-tiles lays them out, and proofs read from them.
// https://c2sp.org/tlog-tiles
import fs from 'node:fs';
import { join } from 'node:path';
import { AuditError, systemCode } from '../errors/audit-error.ts';
import { EMPTY_ROOT, HASH_BYTES, nodeHash, splitPoint, TILE_WIDTH, type TreeSize } from './merkle.ts';
import { ENTRY_BYTES, foldInto } from './tile-hash.ts';

export const BUNDLE_BYTES = TILE_WIDTH * ENTRY_BYTES;

/** A bundle of 256 entries that are zeros. */
export function emptyBundle(): Buffer {
  const bundle = Buffer.alloc(BUNDLE_BYTES);
  for (let at = 0; at < BUNDLE_BYTES; at += ENTRY_BYTES) bundle.writeUInt16BE(HASH_BYTES, at);
  return bundle;
}

/** `level` of a tile, or `entries` for bundles. */
export type TileKind = number | 'entries';

/** Where a tile stands below `tile/`: 1234067 is `x001/x234/067`; `width` below 256 adds `.p/<width>`. */
export function tilePath(kind: TileKind, n: number, width: number = TILE_WIDTH): string {
  let path = String(n % 1000).padStart(3, '0');
  for (let rest = Math.floor(n / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  }
  return `${kind}/${path}${width < TILE_WIDTH ? `.p/${width}` : ''}`;
}

/** How many hashes (or entries) of tile `n` a tree of this size has; at most 256. */
export function tileWidth(kind: TileKind, n: number, size: number): number {
  const nodes = kind === 'entries' ? size : Math.floor(size / TILE_WIDTH ** kind);
  return Math.max(0, Math.min(TILE_WIDTH, nodes - n * TILE_WIDTH));
}

/** Number of levels a tree of this size has tiles in. */
export function tileLevels(size: number): number {
  let levels = 0;
  for (let nodes = size; nodes > 0; nodes = Math.floor(nodes / TILE_WIDTH)) levels++;
  return levels;
}

/** The bytes of a tile or bundle, its partial form included, or null when there is no such file. */
export function readTile(ledger: string, kind: TileKind, n: number, size: number): Buffer | null {
  const width = tileWidth(kind, n, size);
  const item = kind === 'entries' ? ENTRY_BYTES : HASH_BYTES;
  for (const wanted of width === TILE_WIDTH ? [TILE_WIDTH] : [width, TILE_WIDTH]) {
    try {
      const bytes = fs.readFileSync(join(ledger, 'tile', tilePath(kind, n, wanted)));
      // A file that a power failure left empty is as good as none: it is made again from the segments.
      if (bytes.length === 0) continue;
      return wanted === width ? bytes : bytes.subarray(0, width * item);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw unreadable(kind, n, error);
    }
  }
  return null;
}

function unreadable(kind: TileKind, n: number, cause: unknown): AuditError {
  return new AuditError('AUD_LEDGER_TREE', {
    message: `Cannot read tile ${tilePath(kind, n)}: ${systemCode(cause)}.`,
    cause,
    retry: 'after_operator',
  });
}

const CACHED_TILES = 64;

/** Reads a tree of a fixed size from its tiles and makes proofs. What it gives is as true as the tiles are. */
export class TileReader {
  readonly size: number;
  readonly #ledger: string;
  readonly #cache = new Map<string, Buffer>();

  /** `ledger` is the directory that holds `tile/`. */
  constructor(ledger: string, size: number) {
    this.#ledger = ledger;
    this.size = size;
  }

  /** Root of the first `size` entries. @throws AUD_LEDGER_TREE when a tile is missing */
  rootAt(size: number): Buffer {
    return size === 0 ? EMPTY_ROOT : this.#hash(0, size);
  }

  head(): TreeSize {
    return { size: this.size, root: this.rootAt(this.size) };
  }

  /** The 32 bytes that stand for a record: SHA-256 of its line. */
  entry(index: number): Buffer {
    const at = (index % TILE_WIDTH) * ENTRY_BYTES + 2;
    return this.#tile('entries', Math.floor(index / TILE_WIDTH)).subarray(at, at + HASH_BYTES);
  }

  /** Proof that the entry `index` is in the tree of the first `size` entries. */
  inclusion(index: number, size = this.size): Buffer[] {
    const proof: Buffer[] = [];
    let low = 0;
    let high = size;
    while (high - low > 1) {
      const middle = low + splitPoint(high - low);
      if (index < middle) {
        proof.push(this.#hash(middle, high));
        high = middle;
      } else {
        proof.push(this.#hash(low, middle));
        low = middle;
      }
    }
    return proof.reverse();
  }

  /** Proof that the first `older` entries are a prefix of the tree. */
  consistency(older: number, size = this.size): Buffer[] {
    if (older === 0 || older === size) return [];
    const proof: Buffer[] = [];
    let low = 0;
    let high = size;
    while (high !== older) {
      const middle = low + splitPoint(high - low);
      if (older <= middle) {
        proof.push(this.#hash(middle, high));
        high = middle;
      } else {
        proof.push(this.#hash(low, middle));
        low = middle;
      }
    }
    // The node itself is left out when it is the whole of the older tree: the verifier has that root.
    if (low !== 0) proof.push(this.#hash(low, high));
    return proof.reverse();
  }

  /** Hash over the entries [low, high); `low` is a multiple of the largest power of two that is not above their number. */
  #hash(low: number, high: number): Buffer {
    const count = high - low;
    if (isPowerOfTwo(count)) return this.#perfect(low, count);
    const middle = low + splitPoint(count);
    return nodeHash(this.#perfect(low, middle - low), this.#hash(middle, high));
  }

  #perfect(low: number, count: number): Buffer {
    let level = 0;
    let unit = 1;
    while (count >= unit * TILE_WIDTH) {
      unit *= TILE_WIDTH;
      level++;
    }
    const first = low / unit;
    const out = Buffer.allocUnsafe(HASH_BYTES);
    const tile = this.#tile(level, Math.floor(first / TILE_WIDTH));
    foldInto(tile, (first % TILE_WIDTH) * HASH_BYTES, count / unit, out, 0);
    return out;
  }

  #tile(kind: TileKind, n: number): Buffer {
    const key = `${kind}/${n}`;
    const cached = this.#cache.get(key);
    if (cached !== undefined) return cached;
    const bytes = readTile(this.#ledger, kind, n, this.size);
    const item = kind === 'entries' ? ENTRY_BYTES : HASH_BYTES;
    if (bytes === null || bytes.length !== tileWidth(kind, n, this.size) * item) {
      throw new AuditError('AUD_LEDGER_TREE', {
        message: `Tile ${tilePath(kind, n)} is ${bytes === null ? 'missing' : 'not of the length it must have'}.`,
        action: 'Run changetrail verify. The tree is made again from the segments when capture starts.',
        retry: 'after_operator',
      });
    }
    if (this.#cache.size >= CACHED_TILES) this.#cache.delete(this.#cache.keys().next().value!);
    this.#cache.set(key, bytes);
    return bytes;
  }
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}
