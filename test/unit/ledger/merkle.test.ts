import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  EMPTY_ROOT,
  isConsistent,
  leafHash,
  nodeHash,
  rootFromInclusion,
  sha256,
  splitPoint,
} from '../../../src/ledger/merkle.ts';
import { foldInto, leavesInto, peaks } from '../../../src/ledger/tile-hash.ts';
import { emptyBundle } from '../../../src/ledger/tiles.ts';

/** RFC 6962 section 2.1, written down as it is said there. */
function mth(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return createHash('sha256').digest();
  if (leaves.length === 1) return leaves[0]!;
  const k = splitPoint(leaves.length);
  return createHash('sha256')
    .update(Buffer.from([1]))
    .update(mth(leaves.slice(0, k)))
    .update(mth(leaves.slice(k)))
    .digest();
}

function path(index: number, leaves: readonly Buffer[]): Buffer[] {
  if (leaves.length === 1) return [];
  const k = splitPoint(leaves.length);
  return index < k
    ? [...path(index, leaves.slice(0, k)), mth(leaves.slice(k))]
    : [...path(index - k, leaves.slice(k)), mth(leaves.slice(0, k))];
}

function consistency(older: number, leaves: readonly Buffer[], whole = true): Buffer[] {
  if (older === leaves.length) return whole ? [] : [mth(leaves)];
  const k = splitPoint(leaves.length);
  return older <= k
    ? [...consistency(older, leaves.slice(0, k), whole), mth(leaves.slice(k))]
    : [...consistency(older - k, leaves.slice(k), false), mth(leaves.slice(0, k))];
}

const leaves = Array.from({ length: 70 }, (_, i) => leafHash(sha256(Buffer.from(`line ${i}`))));

describe('hashing', () => {
  test('gives the roots that RFC 6962 implementations give', () => {
    // From the test vectors of Certificate Transparency's reference implementation.
    expect(EMPTY_ROOT.toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    const zero = createHash('sha256')
      .update(Buffer.from([0]))
      .digest('hex');
    expect(zero).toBe('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
  });

  test('a leaf is hashed with 0 and a node with 1 in front', () => {
    const entry = sha256(Buffer.from('a'));
    expect(leafHash(entry)).toEqual(
      createHash('sha256')
        .update(Buffer.from([0]))
        .update(entry)
        .digest(),
    );
    expect(nodeHash(entry, entry)).toEqual(
      createHash('sha256')
        .update(Buffer.from([1]))
        .update(entry)
        .update(entry)
        .digest(),
    );
  });

  test('folding and peaks give the same root as the definition, at every width of a tile', () => {
    const all = Array.from({ length: 256 }, (_, i) => leafHash(sha256(Buffer.from([i]))));
    const tile = Buffer.concat(all);
    for (const count of [1, 2, 3, 4, 5, 127, 128, 129, 255, 256]) {
      const root = peaks(tile, count).reduceRight((right, left) => nodeHash(left, right));
      expect(root, `${count}`).toEqual(mth(all.slice(0, count)));
    }
    const out = Buffer.alloc(32);
    foldInto(tile, 0, 256, out, 0);
    expect(out).toEqual(mth(all));
  });
});

describe('hashes of tiles, four at a time', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Buffer.from(b));

  test('leaves of any bundle are those of its entries, and nothing is written behind them', () => {
    const form = fc.record({ count: fc.integer({ min: 1, max: 256 }), bundle: bytes(emptyBundle().length) });
    fc.assert(
      fc.property(form, ({ count, bundle }) => {
        const leaves = Buffer.alloc(256 * 32, 0xaa);
        leavesInto(bundle, count, leaves);
        for (let i = 0; i < count; i++) {
          const entry = bundle.subarray(i * 34 + 2, i * 34 + 34);
          expect(leaves.subarray(i * 32, i * 32 + 32)).toEqual(leafHash(entry));
        }
        expect(leaves.subarray(count * 32).every((byte) => byte === 0xaa)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('a fold is the tree of its hashes, wherever they stand, also into their own place', () => {
    const form = fc.record({ level: fc.integer({ min: 0, max: 8 }), at: fc.nat(255), tile: bytes(256 * 32) });
    fc.assert(
      fc.property(form, ({ level, at, tile }) => {
        const count = 2 ** level;
        const from = Math.min(at, 256 - count) * 32;
        const wanted = mth(
          Array.from({ length: count }, (_, i) => Buffer.from(tile.subarray(from + i * 32, from + i * 32 + 32))),
        );
        foldInto(tile, from, count, tile, from);
        expect(tile.subarray(from, from + 32)).toEqual(wanted);
      }),
      { numRuns: 100 },
    );
  });
});

describe('proofs', () => {
  test('every record of every size is proved, and no other record by the same proof', () => {
    for (let size = 1; size <= leaves.length; size++) {
      const tree = leaves.slice(0, size);
      const root = mth(tree);
      for (let index = 0; index < size; index++) {
        const proof = path(index, tree);
        expect(rootFromInclusion(tree[index]!, index, size, proof)).toEqual(root);
        const other = (index + 1) % size;
        if (other === index) continue;
        expect(rootFromInclusion(tree[index]!, other, size, proof)?.equals(root) ?? false, `${index} ${size}`).toBe(
          false,
        );
        expect(rootFromInclusion(tree[other]!, index, size, proof)?.equals(root) ?? false).toBe(false);
      }
    }
  });

  test('a proof that is too short, too long, or for an index outside is refused', () => {
    const root = mth(leaves);
    const proof = path(5, leaves);
    expect(rootFromInclusion(leaves[5]!, 5, 70, proof)).toEqual(root);
    expect(rootFromInclusion(leaves[5]!, 5, 70, proof.slice(1))?.equals(root) ?? false).toBe(false);
    expect(rootFromInclusion(leaves[5]!, 5, 70, [...proof, proof[0]!])).toBeNull();
    expect(rootFromInclusion(leaves[5]!, 70, 70, proof)).toBeNull();
  });

  test('every older tree is a prefix of every newer one, and a changed one is not', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 70 }),
        fc.integer({ min: 0, max: 70 }),
        fc.integer({ min: 0, max: 69 }),
        (a, b, at) => {
          const [older, newer] = a < b ? [a, b] : [b, a];
          const proof = older === 0 ? [] : consistency(older, leaves.slice(0, newer));
          const now = { size: newer, root: mth(leaves.slice(0, newer)) };
          expect(isConsistent({ size: older, root: mth(leaves.slice(0, older)) }, now, proof)).toBe(true);
          if (at >= older) return;
          const changed = leaves.slice(0, older).with(at, leafHash(sha256(Buffer.from('forged'))));
          expect(isConsistent({ size: older, root: mth(changed) }, now, proof)).toBe(false);
        },
      ),
    );
  });

  test('a larger tree is not a prefix of a smaller one', () => {
    expect(
      isConsistent({ size: 3, root: mth(leaves.slice(0, 3)) }, { size: 2, root: mth(leaves.slice(0, 2)) }, []),
    ).toBe(false);
  });
});
