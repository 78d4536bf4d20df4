import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isConsistent, leafHash, rootFromInclusion, sha256 } from '../../../src/ledger/merkle.ts';
import { parseHead } from '../../../src/ledger/note.ts';
import { TileReader, tilePath } from '../../../src/ledger/tiles.ts';
import { readTreeState, writeTreeState } from '../../../src/ledger/tree-state.ts';
import { buildLedger, checkpointOf, openTrail, verify } from '../../ledger/harness.ts';
import { temporaryDirectory } from '../../support/tmp.ts';
import { until } from '../../support/wait.ts';
import { codeOfAsync } from './codes.ts';

test('tiles stand where the specification says', () => {
  expect(tilePath(0, 0)).toBe('0/000');
  expect(tilePath(1, 1234067)).toBe('1/x001/x234/067');
  expect(tilePath('entries', 1000)).toBe('entries/x001/000');
  expect(tilePath(2, 5, 17)).toBe('2/005.p/17');
});

describe('the tree', () => {
  test('stands for the SHA-256 of each line without its line feed', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 300);
    const lines = readFileSync(dir.join('ledger/segments/0000000000000000.ndjson'), 'utf8').trimEnd().split('\n');
    const head = parseHead(checkpointOf(dir.path));
    const tiles = new TileReader(dir.join('ledger'), head.size);
    for (const index of [0, 1, 255, 256, 299]) {
      const entry = sha256(Buffer.from(lines[index]!, 'utf8'));
      expect(tiles.entry(index)).toEqual(entry);
      expect(rootFromInclusion(leafHash(entry), index, head.size, tiles.inclusion(index))).toEqual(head.root);
    }
  });

  test('proves each older size a prefix of each newer one', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 700);
    const tiles = new TileReader(dir.join('ledger'), 700);
    for (const newer of [1, 2, 255, 256, 257, 511, 512, 513, 700]) {
      for (const older of [0, 1, 2, 3, 254, 255, 256, 257, 512, 699, 700].filter((size) => size <= newer)) {
        const old = { size: older, root: tiles.rootAt(older) };
        const now = { size: newer, root: tiles.rootAt(newer) };
        expect(isConsistent(old, now, tiles.consistency(older, newer)), `${older} ${newer}`).toBe(true);
      }
    }
  });

  test('is the same whether written at once, in parts or by a thread', async () => {
    await using dir = await temporaryDirectory();
    const fixed = { now: () => 1_790_000_000_000, integrity: { origin: 'test/one' } };
    await buildLedger(dir.join('a'), 1000, fixed);
    const parts = await openTrail(dir.join('b'), { ...fixed, thread: true, ledger: { segmentBytes: 20_000 } });
    for (const count of [1, 254, 1, 1, 255, 488]) {
      await parts.append(count);
      await parts.integrity.published(parts.ledger.writer.durable.next - 1);
    }
    await parts.close();
    expect(parseHead(checkpointOf(dir.join('b'))).root).toEqual(parseHead(checkpointOf(dir.join('a'))).root);
    expect((await verify(dir.join('b'))).verdict).toBe('verified');
  });

  test('follows an append by itself', async () => {
    await using dir = await temporaryDirectory();
    const trail = await openTrail(dir.path, { thread: true });
    for (let round = 1; round <= 3; round++) {
      await trail.append(10);
      await until(() => trail.integrity.head().size === round * 10, { what: 'a head over the records' });
    }
    await trail.close();
  });
});

describe('after a crash', () => {
  test('what the tiles lack is made again from the segments', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 1000);
    rmSync(dir.join('ledger/tile'), { recursive: true });
    await openTrail(dir.path).then((trail) => trail.close());
    expect((await verify(dir.path)).verdict).toBe('verified');
  });

  test('tiles that a power failure left empty are made again', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 1000);
    writeTreeState(dir.join('tree.json'), { ...readTreeState(dir.join('tree.json'))!, synced: 256 });
    for (const name of ['entries/001', 'entries/002', '0/001', '0/002']) truncateSync(dir.join('ledger/tile', name), 0);
    expect((await verify(dir.path)).verdict).toBe('incomplete');
    await openTrail(dir.path).then((trail) => trail.close());
    expect((await verify(dir.path)).verdict).toBe('verified');
  });

  test('lines that are durable but not under a head are integrated and signed', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 100);
    const before = checkpointOf(dir.path);
    const trail = await openTrail(dir.path);
    await trail.append(50);
    await trail.close();
    writeFileSync(dir.join('ledger/checkpoint'), before);
    writeTreeState(dir.join('tree.json'), { ...readTreeState(dir.join('tree.json'))!, head: before.toString('utf8') });
    expect(await verify(dir.path)).toMatchObject({ verdict: 'incomplete', unsigned: 50 });
    await openTrail(dir.path).then((again) => again.close());
    expect(await verify(dir.path)).toMatchObject({ verdict: 'verified', size: 150, unsigned: 0 });
  });
});

describe('a start refuses', () => {
  test('lines that were changed, and leaves the old tiles as evidence', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 300);
    const segment = dir.join('ledger/segments/0000000000000000.ndjson');
    writeFileSync(segment, readFileSync(segment, 'utf8').replaceAll('"text":"xxxx', '"text":"yyyy'));
    const tile = readFileSync(dir.join('ledger/tile/entries/000'));
    expect(await codeOfAsync(() => openTrail(dir.path))).toBe('AUD_LEDGER_CONTRADICTION');
    expect(readFileSync(dir.join('ledger/tile/entries/000'))).toEqual(tile);
  });

  test('fewer records than were signed', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 300);
    const segment = dir.join('ledger/segments/0000000000000000.ndjson');
    const lines = readFileSync(segment, 'utf8').split('\n');
    writeFileSync(segment, `${lines.slice(0, 250).join('\n')}\n`);
    expect(await codeOfAsync(() => openTrail(dir.path))).toBe('AUD_LEDGER_CONTRADICTION');
  });

  test('an old checkpoint, and no checkpoint where there was one', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 100);
    const old = checkpointOf(dir.path);
    await openTrail(dir.path).then(async (trail) => {
      await trail.append(100);
      await trail.close();
    });
    writeFileSync(dir.join('ledger/checkpoint'), old);
    expect(await codeOfAsync(() => openTrail(dir.path))).toBe('AUD_LEDGER_ROLLBACK');
    rmSync(dir.join('ledger/checkpoint'));
    expect(await codeOfAsync(() => openTrail(dir.path))).toBe('AUD_LEDGER_ROLLBACK');
  });

  test('a ledger of another key, and one whose key is gone', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.join('a'), 10, { integrity: { origin: 'test/same' } });
    await buildLedger(dir.join('b'), 10, { integrity: { origin: 'test/same' } });
    writeFileSync(dir.join('a/ledger/checkpoint'), checkpointOf(dir.join('b')));
    expect(await codeOfAsync(() => openTrail(dir.join('a')))).toBe('AUD_LEDGER_CONTRADICTION');
    rmSync(join(dir.join('b'), 'keys'), { recursive: true });
    expect(await codeOfAsync(() => openTrail(dir.join('b')))).toBe('AUD_KEY_MISSING');
  });
});
