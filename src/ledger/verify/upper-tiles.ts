// The tiles above level 1, and the root: from the roots of the spans below, which the jobs computed.
import { EMPTY_ROOT, HASH_BYTES, nodeHash, TILE_WIDTH } from '../merkle.ts';
import { tilePath } from '../tiles.ts';
import type { Findings } from './findings.ts';
import { lookAtTile } from './look-at-tile.ts';
import { SPAN, type TileResult } from './tile-job.ts';

/** Compares the tiles of level 2 and above with `spans` (roots of 65,536 entries each). */
export function checkUpperTiles(ledger: string, size: number, spans: readonly Buffer[], findings: Findings): void {
  let nodes = spans;
  let unit = SPAN;
  for (let level = 2; nodes.length > 0; level++, unit *= TILE_WIDTH) {
    for (let n = 0; n * TILE_WIDTH < nodes.length; n++) {
      const computed = Buffer.concat(nodes.slice(n * TILE_WIDTH, (n + 1) * TILE_WIDTH));
      const file = lookAtTile(ledger, level, n, size, findings);
      if (file === 'unreadable') continue;
      const index = n * TILE_WIDTH * unit;
      const name = `tile/${tilePath(level, n, computed.length / HASH_BYTES)}`;
      if (file === null) findings.add({ level: 'missing', what: 'tile_missing', message: `${name} is missing`, index });
      else if (!file.equals(computed)) {
        const message = `${name} is damaged: it is not what stands below it`;
        findings.add({ level: 'tampered', what: 'tile_damaged', message, index });
      }
    }
    nodes = parents(nodes, TILE_WIDTH);
  }
}

/** The root over the spans' peaks; `results` in order. Null when something is missing. */
export function rootOf(results: readonly TileResult['peaks'][]): Buffer | null {
  const spans: Buffer[] = [];
  let rest: readonly Buffer[] = [];
  for (const [i, found] of results.entries()) {
    if (found === null) return null;
    if (i < results.length - 1 || found.length === 1) spans.push(...found);
    else rest = found;
  }
  return fold([...perfectRoots(spans), ...rest]);
}

/** Largest first into one. */
function fold(peaks: readonly Buffer[]): Buffer {
  return (
    peaks.reduceRight<Buffer | null>((right, left) => (right === null ? left : nodeHash(left, right)), null) ??
    EMPTY_ROOT
  );
}

/** Roots of the perfect trees over the nodes, largest first. */
function perfectRoots(nodes: readonly Buffer[]): Buffer[] {
  const roots: Buffer[] = [];
  for (let from = 0; from < nodes.length; ) {
    const count = 2 ** Math.floor(Math.log2(nodes.length - from));
    roots.push(...parents(nodes.slice(from, from + count), count));
    from += count;
  }
  return roots;
}

/** Roots over each whole `width` (a power of two) of nodes. */
function parents(nodes: readonly Buffer[], width: number): Buffer[] {
  let level = nodes.slice(0, nodes.length - (nodes.length % width));
  for (let left = width; left > 1; left /= 2) {
    const above: Buffer[] = [];
    for (let i = 0; i < level.length; i += 2) above.push(nodeHash(level[i]!, level[i + 1]!));
    level = above;
  }
  return level;
}
