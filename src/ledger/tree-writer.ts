// Grows the tree from the lines of the ledger and writes its tiles. One writer a ledger; no thread, no signature.
import { dirname, join } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { createFileLater, discardFile, makeDirectoryLater, syncDirectory, syncFile } from './file-ops.ts';
import type { LineBlock } from './lines.ts';
import { EMPTY_ROOT, HASH_BYTES, nodeHash, sha256Into, TILE_BYTES, TILE_WIDTH } from './merkle.ts';
import { ENTRY_BYTES, foldInto, leavesInto, peaks } from './tile-hash.ts';
import { emptyBundle, readTile, type TileKind, tilePath } from './tiles.ts';

/** A tile that is not full yet. */
interface OpenTile {
  readonly hashes: Buffer;
  count: number;
  /** Width at which it was last written as a partial tile. */
  written: number;
}

/** Full tiles kept until they are written together: at most some 9 MB, the tiles of 131,072 entries. */
const QUEUED_FILES = 1024;

/**
 * Keeps the right edge of the tree in memory: one open tile a level and the open bundle. Full tiles and partial ones are
 * written by `flush`, in one burst: each creation may have to wait for a commit of the file system's journal, which the
 * writer's syncs cause without end, and in a burst few do (bench/RESULTS.md, W1). Tiles are not synced when they are
 * written: the segments are their journal, and what `sync` has not confirmed is made again from them after a crash. Nobody
 * reads a tile before a checkpoint covers it.
 */
export class TreeWriter {
  readonly #ledger: string;
  readonly #dry: boolean;
  readonly #levels: OpenTile[] = [];
  readonly #bundle = emptyBundle();
  #bundleWritten = 0;
  #size = 0;
  /** Full tiles to be written by the next flush. */
  #queue: { readonly path: string; readonly bytes: Buffer; readonly size: number }[] = [];
  /** Full tiles that no sync has made durable, each with the size at which it filled; oldest first. */
  #pending: { readonly path: string; readonly size: number }[] = [];
  #synced = 0;
  readonly #pendingDirectories = new Set<string>();
  readonly #knownDirectories = new Set<string>();

  private constructor(ledger: string, dry: boolean) {
    this.#ledger = ledger;
    this.#dry = dry;
  }

  /**
   * A tree of the first `size` entries, a multiple of 256, from the full tiles that are there; `ledger` is the directory
   * that holds `tile/`. `dry` trees only compute.
   * @throws AUD_LEDGER_TREE when a tile is missing
   */
  static fromTiles(ledger: string, size: number, options: { readonly dry?: boolean } = {}): TreeWriter {
    const tree = new TreeWriter(ledger, options.dry ?? false);
    tree.#size = size;
    tree.#synced = size;
    let unit = TILE_WIDTH;
    tree.#level(0);
    for (let level = 1; size >= unit; level++, unit *= TILE_WIDTH) {
      const open = tree.#level(level);
      const nodes = Math.floor(size / unit);
      open.count = nodes % TILE_WIDTH;
      for (let i = 0; i < open.count; i++) {
        const below = readTile(ledger, level - 1, nodes - open.count + i, size);
        if (below?.length !== TILE_BYTES) throw missingTile(level - 1, nodes - open.count + i);
        foldInto(below, 0, TILE_WIDTH, open.hashes, i * HASH_BYTES);
      }
    }
    return tree;
  }

  /** Entries in the tree. */
  get size(): number {
    return this.#size;
  }

  /** Entries in full tiles that no sync has made durable. */
  get unsynced(): number {
    return this.#size - (this.#size % TILE_WIDTH) - this.#synced;
  }

  /** Adds lines `[from, to)` of a block. @throws AUD_LEDGER_WRITE; the tree is then of no more use */
  addLines(block: LineBlock, from = 0, to = block.ends.length): void {
    let start = from === 0 ? 0 : block.ends[from - 1]!;
    for (let i = from; i < to; i++) {
      const end = block.ends[i]!;
      if (block.digest === undefined) sha256Into(block.bytes.subarray(start, end - 1), this.#bundle, this.#entryAt);
      else block.digest.copy(this.#bundle, this.#entryAt);
      if (++this.#size % TILE_WIDTH === 0) this.#carry();
      start = end;
    }
  }

  /** Where the next entry goes in the bundle. */
  get #entryAt(): number {
    return (this.#size % TILE_WIDTH) * ENTRY_BYTES + 2;
  }

  /** Takes the tile that is full, and those above that it fills, for writing. */
  #carry(): void {
    this.#hashLeaves(TILE_WIDTH);
    this.#queueFull('entries', this.#size / TILE_WIDTH - 1, this.#bundle);
    this.#bundleWritten = 0;
    let nodes = this.#size;
    for (let level = 0; ; level++) {
      const tile = this.#levels[level]!;
      if (tile.count < TILE_WIDTH) break;
      nodes /= TILE_WIDTH;
      this.#queueFull(level, nodes - 1, tile.hashes);
      const above = this.#level(level + 1);
      foldInto(tile.hashes, 0, TILE_WIDTH, above.hashes, above.count * HASH_BYTES);
      above.count++;
      tile.count = 0;
      tile.written = 0;
    }
    if (this.#queue.length >= QUEUED_FILES) this.#writeQueue();
  }

  /** Leaves of the first `count` entries of the open bundle. Many at a time are cheaper, so they wait until asked for. */
  #hashLeaves(count: number): void {
    const bottom = this.#level(0);
    if (count > bottom.count) leavesInto(this.#bundle, count, bottom.hashes);
    bottom.count = count;
  }

  /** Root over all entries. */
  root(): Buffer {
    this.#hashLeaves(this.#size % TILE_WIDTH);
    let root: Buffer | null = null;
    for (const { hashes, count } of this.#levels) {
      for (const peak of peaks(hashes, count).reverse()) root = root === null ? peak : nodeHash(peak, root);
    }
    return root ?? EMPTY_ROOT;
  }

  /** Writes full and partial tiles, so that the files hold the whole tree. */
  flush(): void {
    this.#writeQueue();
    const width = this.#size % TILE_WIDTH;
    this.#hashLeaves(width);
    const n = Math.floor(this.#size / TILE_WIDTH);
    if (width > this.#bundleWritten) {
      this.#write(this.#path('entries', n, width), this.#bundle.subarray(0, width * ENTRY_BYTES));
      this.#bundleWritten = width;
    }
    for (let level = 0, nodes = this.#size; level < this.#levels.length; level++) {
      const tile = this.#levels[level]!;
      const place = Math.floor(nodes / TILE_WIDTH);
      if (tile.count > tile.written) {
        this.#write(this.#path(level, place, tile.count), tile.hashes.subarray(0, tile.count * HASH_BYTES));
        tile.written = tile.count;
      }
      nodes = place;
    }
  }

  /**
   * Makes the oldest full tiles durable, those of about `entries` entries, and removes partial ones that they replace.
   * Returns the size up to which all full tiles are on the disk.
   */
  sync(entries: number): number {
    const stop = this.#synced + Math.max(TILE_WIDTH, entries);
    const done = this.#pending.filter(({ size }) => size <= stop);
    for (const { path } of done) syncFile(path);
    for (const path of this.#pendingDirectories) syncDirectory(path);
    for (const { path } of done) discardFile(`${path}.p`);
    this.#pending = this.#pending.slice(done.length);
    this.#synced = done.at(-1)?.size ?? this.#synced;
    this.#pendingDirectories.clear();
    for (const { path } of this.#pending) this.#pendingDirectories.add(dirname(path));
    return this.#synced;
  }

  /** Queues a full tile; its bytes are copied. */
  #queueFull(kind: TileKind, n: number, bytes: Buffer): void {
    if (this.#dry) return;
    this.#queue.push({ path: this.#path(kind, n, TILE_WIDTH), bytes: Buffer.from(bytes), size: this.#size });
  }

  #writeQueue(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { path, bytes, size } of queue) {
      this.#write(path, bytes);
      this.#pending.push({ path, size });
      this.#pendingDirectories.add(dirname(path));
    }
  }

  #path(kind: TileKind, n: number, width: number): string {
    return join(this.#ledger, 'tile', tilePath(kind, n, width));
  }

  #write(path: string, bytes: Uint8Array): void {
    if (this.#dry) return;
    const directory = dirname(path);
    if (!this.#knownDirectories.has(directory)) {
      for (const made of makeDirectoryLater(directory)) this.#pendingDirectories.add(dirname(made));
      this.#knownDirectories.add(directory);
    }
    createFileLater(path, bytes);
  }

  #level(level: number): OpenTile {
    while (this.#levels.length <= level) {
      this.#levels.push({ hashes: Buffer.allocUnsafeSlow(TILE_BYTES), count: 0, written: 0 });
    }
    return this.#levels[level]!;
  }
}

function missingTile(level: number, n: number): AuditError {
  return new AuditError('AUD_LEDGER_TREE', {
    message: `Tile ${tilePath(level, n)} is missing or not whole.`,
    retry: 'after_operator',
  });
}
