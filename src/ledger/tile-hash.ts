// Hashes of a tile: its leaves, and the tree over them.
import { HASH_BYTES, TILE_BYTES, TILE_WIDTH } from './merkle.ts';
import { FREE_AT, SHA256_LANES } from './sha256-lanes.ts';

/** An entry in a bundle: two bytes of length, then the SHA-256 of a record's line. */
export const ENTRY_BYTES = 2 + HASH_BYTES;

const IN_AT = FREE_AT;
/** Behind the largest that goes in, a bundle of 256 entries, and what a last group of less than four reads too much. */
const OUT_AT = IN_AT + TILE_WIDTH * ENTRY_BYTES + TILE_BYTES;

/** Four messages a group, the first at `input`; their hashes go to `output`, both offsets in the page. */
type HashGroups = (input: number, output: number, groups: number) => void;

/** What is used of it here; its types come with those of a browser only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => {
    readonly exports: {
      readonly memory: { readonly buffer: ArrayBuffer };
      readonly hashLeaves: HashGroups;
      readonly hashNodes: HashGroups;
    };
  };
};

const { memory, hashLeaves, hashNodes } = new WebAssembly.Instance(new WebAssembly.Module(SHA256_LANES)).exports;
const page = Buffer.from(memory.buffer);

/** Hashes of the leaves of the first `count` entries (at least one) of a bundle, as they stand in a tile of level 0. */
export function leavesInto(bundle: Buffer, count: number, leaves: Buffer): void {
  bundle.copy(page, IN_AT, 0, count * ENTRY_BYTES);
  hashLeaves(IN_AT + 2, OUT_AT, Math.ceil(count / 4));
  page.copy(leaves, 0, OUT_AT, OUT_AT + count * HASH_BYTES);
}

/**
 * Root of the perfect tree over `count` (a power of two, at most 256) hashes at `hashes[from]`, into `out` at `at`; `out`
 * may be `hashes`.
 */
export function foldInto(hashes: Buffer, from: number, count: number, out: Buffer, at: number): void {
  hashes.copy(page, IN_AT, from, from + count * HASH_BYTES);
  // Each level takes the place of the one below.
  for (let left = count >> 1; left > 0; left >>= 1) hashNodes(IN_AT, IN_AT, Math.ceil(left / 4));
  page.copy(out, at, IN_AT, IN_AT + HASH_BYTES);
}

/** Roots of the perfect trees that `count` hashes fall into, largest first. */
export function peaks(hashes: Buffer, count: number): Buffer[] {
  const roots: Buffer[] = [];
  for (let from = 0, size = TILE_WIDTH; size > 0; size >>= 1) {
    if (count - from < size) continue;
    const root = Buffer.allocUnsafe(HASH_BYTES);
    foldInto(hashes, from * HASH_BYTES, size, root, 0);
    roots.push(root);
    from += size;
  }
  return roots;
}
