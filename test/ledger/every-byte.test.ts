import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/tmp.ts';
import { openTrail, publicKey, verify } from './harness.ts';

function filesOf(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** zstd can say the same thing in more than one way: what is signed is the content. */
function isSameContent(path: string, original: Buffer, flipped: Buffer): boolean {
  return path.endsWith('.zst') && zstdDecompressSync(original).equals(zstdDecompressSync(flipped));
}

/** Verifies after flipping each byte of each file in turn; tells which flips were not seen. */
async function flipEverything(data: string, bits: readonly number[]): Promise<string[]> {
  const keys = [publicKey(data)];
  const unseen: string[] = [];
  expect((await verify(data, { keys })).verdict).toBe('verified');
  for (const path of filesOf(join(data, 'ledger'))) {
    const original = readFileSync(path);
    for (let at = 0; at < original.length; at++) {
      for (const bit of bits) {
        const flipped = Buffer.from(original);
        flipped[at]! ^= bit;
        writeFileSync(path, flipped);
        const { verdict } = await verify(data, { keys });
        if (verdict === 'verified' && !isSameContent(path, original, flipped))
          unseen.push(`${path} byte ${at} bit ${bit}`);
      }
    }
    writeFileSync(path, original);
  }
  return unseen;
}

test('no byte of a ledger can be flipped without verify seeing it', { timeout: 600_000 }, async () => {
  await using dir = await temporaryDirectory();
  const trail = await openTrail(dir.path, { ledger: { segmentBytes: 600 } });
  await trail.append(2, 0);
  await trail.integrity.published(1);
  await trail.append(1, 0);
  await trail.integrity.finish();
  await trail.close();
  expect(filesOf(dir.join('ledger')).length).toBeGreaterThan(6);
  expect(await flipEverything(dir.path, [1])).toEqual([]);
});

test('nor of one with compressed segments, but for bits of the compression that change no content', {
  timeout: 600_000,
}, async () => {
  await using dir = await temporaryDirectory();
  const trail = await openTrail(dir.path, { ledger: { segmentBytes: 500 }, integrity: { compress: 'zstd' } });
  await trail.append(1, 0);
  await trail.append(1, 0);
  await trail.append(1, 0);
  await trail.integrity.published(2);
  await trail.integrity.maintain();
  await trail.close();
  expect(filesOf(dir.join('ledger')).some((path) => path.endsWith('.zst'))).toBe(true);
  expect(await flipEverything(dir.path, [1, 128])).toEqual([]);
});
