// What happens to a ledger over the years: keys change, segments are compressed and removed, anchors are asked, proofs given away.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Keyring } from '../../src/keys/keyring.ts';
import { generateSigningKey, signingKeyText } from '../../src/keys/private-key.ts';
import { beginAnew } from '../../src/ledger/begin-anew.ts';
import { findById, findByIndex } from '../../src/ledger/find-record.ts';
import { listSegments } from '../../src/ledger/layout.ts';
import { parseHead } from '../../src/ledger/note.ts';
import { checkProof, proofText } from '../../src/ledger/proof.ts';
import { SegmentReader } from '../../src/ledger/reader.ts';
import { TileReader } from '../../src/ledger/tiles.ts';
import { inlineEngine } from '../../src/ledger/tree-engine.ts';
import { parseRecord } from '../../src/record/parse.ts';
import { recordSchema } from '../../src/record/schema.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { codeOf, codeOfAsync } from '../unit/ledger/codes.ts';
import { buildLedger, checkpointOf, copyOf, openTrail, publicKey, type TestTrail, verify } from './harness.ts';

const DAY = 86_400_000;
const START = Date.parse('2026-01-01T00:00:00Z');

/** Forty records close a segment. */
const DAILY = { segmentBytes: 12_000, groupMs: 0 };

/** Forty records a day for `days` days, a segment a day. */
async function dailyLedger(data: string, days: number, integrity: Record<string, unknown> = {}): Promise<void> {
  let now = START;
  const trail = await openTrail(data, { ledger: DAILY, now: () => now, integrity });
  for (let day = 0; day < days; day++) {
    now = START + day * DAY;
    await trail.append(40);
  }
  await trail.close();
}

async function readAll(data: string, from = 0): Promise<number[]> {
  const indexes: number[] = [];
  for await (const batch of new SegmentReader(`${data}/ledger/segments`).read({ index: from })) {
    let start = 0;
    for (const end of batch.ends) {
      indexes.push(parseRecord(batch.bytes.subarray(start, end - 1)).index);
      start = end;
    }
  }
  return indexes;
}

describe('keys', () => {
  test('are made on the first run, readable by their owner alone', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 3);
    for (const name of readdirSync(dir.join('keys'))) {
      const { mode } = await import('node:fs').then(({ statSync }) => statSync(dir.join('keys', name)));
      expect(mode & 0o777, name).toBe(0o600);
    }
  });

  test('rotate with an overlap, while capture runs and while it does not; either key verifies meanwhile', async () => {
    await using dir = await temporaryDirectory();
    const old = await buildLedger(dir.path, 5);
    const origin = parseHead(checkpointOf(dir.path)).origin;
    const trail = await openTrail(dir.path);
    const { vkey: next } = new Keyring(dir.join('keys')).add(origin, Date.now());
    await trail.append(5);
    await trail.integrity.finish();
    await trail.close();
    expect(parseHead(checkpointOf(dir.path)).note.signatures).toHaveLength(2);
    for (const key of [old, next]) {
      expect(await verify(dir.path, { keys: [key] })).toMatchObject({ verdict: 'verified', key_from: 'given' });
    }
    const lines = readFileSync(dir.join('ledger/segments/0000000000000000.ndjson'), 'utf8').trimEnd().split('\n');
    const change = lines.map((line) => recordSchema.parse(JSON.parse(line))).find(({ action }) => action === 'key_add');
    expect(change).toMatchObject({ kind: 'head', details: { vkey: next } });
  });

  test('after the overlap the old key vouches for the new one, through the record of the change', async () => {
    await using dir = await temporaryDirectory();
    let now = START;
    const options = { now: () => now };
    const old = await buildLedger(dir.path, 5, options);
    const origin = parseHead(checkpointOf(dir.path)).origin;
    const { vkey: next } = new Keyring(dir.join('keys')).add(origin, now, DAY);
    const during = await openTrail(dir.path, options);
    await during.append(5);
    await during.integrity.finish();
    await during.append(5);
    await during.integrity.finish();
    await during.close();
    now = START + 2 * DAY;
    const after = await openTrail(dir.path, options);
    await after.append(5);
    await after.close();
    expect(parseHead(checkpointOf(dir.path)).note.signatures).toHaveLength(1);
    expect(await verify(dir.path, { keys: [next] })).toMatchObject({ verdict: 'verified', key_from: 'given' });
    expect(await verify(dir.path, { keys: [old] })).toMatchObject({ verdict: 'verified', key_from: 'record' });
    const stranger = generateSigningKey(origin).vkey;
    expect(await verify(dir.path, { keys: [stranger] })).toMatchObject({ verdict: 'incomplete' });
  });

  test('come from a file, a variable or a command', async () => {
    await using dir = await temporaryDirectory();
    const key = generateSigningKey('test/given');
    const file = dir.join('key.txt');
    writeFileSync(file, signingKeyText(key), { mode: 0o600 });
    process.env['CHANGETRAIL_TEST_LIFE_KEY'] = key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
    const script = `const { createPrivateKey, sign } = require('node:crypto');
      const text = require('node:fs').readFileSync(0);
      process.stdout.write(sign(null, text, createPrivateKey(process.env.CHANGETRAIL_TEST_LIFE_KEY)).toString('base64'));`;
    const sources = [
      { keys: [{ file }] },
      { keys: [{ env: 'CHANGETRAIL_TEST_LIFE_KEY' }], origin: 'test/given' },
      { keys: [{ command: [process.execPath, '-e', script], vkey: key.vkey }] },
    ];
    for (const [i, integrity] of sources.entries()) {
      await buildLedger(dir.join(`data-${i}`), 3, { integrity });
      expect(await verify(dir.join(`data-${i}`), { keys: [key.vkey] })).toMatchObject({ verdict: 'verified' });
      expect(existsSync(dir.join(`data-${i}`, 'keys'))).toBe(false);
    }
    const lying = { keys: [{ command: [process.execPath, '-e', 'console.log("AAAA")'], vkey: key.vkey }] };
    expect(await codeOfAsync(() => buildLedger(dir.join('lying'), 1, { integrity: lying }))).toBe('AUD_KEY_SIGN');
  });
});

describe('compression', () => {
  test('leaves what every reader sees as it was, and verify too', async () => {
    await using dir = await temporaryDirectory();
    await dailyLedger(dir.path, 6);
    const before = await readAll(dir.path);
    const trail = await openTrail(dir.path, { ledger: DAILY, integrity: { compress: 'zstd' } });
    await trail.integrity.maintain();
    await trail.close();
    const segments = listSegments(dir.join('ledger/segments'));
    expect(segments.slice(0, -1).every(({ compressed }) => compressed)).toBe(true);
    expect(segments.at(-1)!.compressed).toBe(false);
    expect(await readAll(dir.path)).toEqual(before);
    expect(await readAll(dir.path, 17)).toEqual(before.slice(17));
    expect(await verify(dir.path)).toMatchObject({ verdict: 'verified', compared: before.length });
    expect(findByIndex(dir.join('ledger/segments'), 12).index).toBe(12);
  });
});

describe('retention', () => {
  /** Twenty days, of which those older than `retention` go on the twentieth. */
  async function pruned(data: string, integrity: Record<string, unknown>): Promise<void> {
    await dailyLedger(data, 20);
    const now = START + 20 * DAY;
    const trail = await openTrail(data, { ledger: DAILY, now: () => now, integrity });
    await trail.integrity.maintain();
    await trail.close();
  }

  test('removes whole closed segments, keeps the tree, says so in a record, and verify accepts just that', async () => {
    await using dir = await temporaryDirectory();
    const data = dir.join('data');
    await pruned(data, { retention: '12d' });
    const [first] = listSegments(dir.join('data/ledger/segments'));
    expect(first!.first).toBe(320);
    const key = publicKey(data);
    const report = await verify(data, { keys: [key] });
    expect(report).toMatchObject({ verdict: 'verified', first: 320, removed: { records: 320 } });
    const record = JSON.parse(
      findByIndex(dir.join('data/ledger/segments'), report.removed!.index).line.toString(),
    ) as object;
    expect(recordSchema.parse(record)).toMatchObject({
      kind: 'policy',
      action: 'prune',
      details: { from: 0, to: 320, segments: expect.arrayContaining(['0000000000000000.ndjson']) },
    });
    // One segment more than the record says.
    const more = copyOf(data, dir.join('more'));
    rmSync(`${more}/ledger/segments/0000000000000320.ndjson`);
    expect(await verify(more, { keys: [key] })).toMatchObject({ verdict: 'incomplete' });
    // And it goes on.
    const trail = await openTrail(data, { ledger: DAILY });
    await trail.append(10);
    await trail.close();
    expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'verified' });
  });

  test('stops before a hold', async () => {
    await using dir = await temporaryDirectory();
    await pruned(dir.path, { retention: '12d', holds: [{ matter: 'case 7', from: '2026-01-04', to: '2026-01-05' }] });
    expect(listSegments(dir.join('ledger/segments'))[0]!.first).toBe(120);
    expect(await verify(dir.path)).toMatchObject({ verdict: 'verified', removed: { records: 120 } });
  });

  test('a removal without a record is not accepted', async () => {
    await using dir = await temporaryDirectory();
    await dailyLedger(dir.path, 5);
    rmSync(dir.join('ledger/segments/0000000000000000.ndjson'));
    const report = await verify(dir.path);
    expect(report.verdict).toBe('incomplete');
    expect(report.findings[0]).toMatchObject({ what: 'retention_unexplained' });
  });
});

describe('anchors', () => {
  const anchored = (path: string) => ({ anchors: [{ type: 'file', path }] });

  test('a file holds the last head; a start behind it is refused, and so is another history', async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('kept.head');
    const data = dir.join('data');
    const first = await openTrail(data, { integrity: anchored(path) });
    await first.append(20);
    await first.integrity.finish();
    await first.close();
    const old = copyOf(data, dir.join('old'));
    const second = await openTrail(data, { integrity: anchored(path) });
    await second.append(20);
    await second.integrity.finish();
    await second.close();
    expect(parseHead(readFileSync(path)).size).toBe(42);
    expect(await codeOfAsync(() => openTrail(old, { integrity: anchored(path) }))).toBe('AUD_LEDGER_ROLLBACK');

    const rewritten = copyOf(data, dir.join('rewritten'));
    for (const name of ['ledger/tile', 'ledger/checkpoint', 'tree.json'])
      rmSync(`${rewritten}/${name}`, { recursive: true });
    const segment = `${rewritten}/ledger/segments/0000000000000000.ndjson`;
    writeFileSync(segment, readFileSync(segment, 'utf8').replace('xxx', 'yyy'));
    const origin = parseHead(checkpointOf(data)).origin;
    expect(await codeOfAsync(() => openTrail(rewritten, { integrity: { ...anchored(path), origin } }))).toBe(
      'AUD_LEDGER_FORK',
    );
    expect(existsSync(`${rewritten}/ledger/checkpoint`)).toBe(false);
    expect(await verify(data, { heads: [{ name: 'kept', bytes: readFileSync(path) }] })).toMatchObject({
      verdict: 'verified',
    });
  });

  test('one that cannot be asked is gone on without', async () => {
    await using dir = await temporaryDirectory();
    writeFileSync(dir.join('kept.head'), 'no head');
    const trail = await openTrail(dir.join('data'), { integrity: anchored(dir.join('kept.head')) });
    await trail.append(1);
    expect(trail.integrity.status().anchors[0]!.error).toContain('failed');
    await trail.close();
  });

  test('an idle ledger does not grow: one head record for what is new, none for head records', async () => {
    await using dir = await temporaryDirectory();
    const trail = await openTrail(dir.path);
    await trail.append(3);
    for (let i = 0; i < 5; i++) await trail.integrity.finish();
    expect(trail.ledger.writer.durable.next).toBe(4);
    await trail.close();
    const again = await openTrail(dir.path);
    await again.integrity.finish();
    expect(again.ledger.writer.durable.next).toBe(4);
    await again.close();
  });
});

describe('a head', () => {
  test('is published while more records come than can be hashed meanwhile', async () => {
    await using dir = await temporaryDirectory();
    let trail: TestTrail | null = null;
    let hashings = 0;
    // Each time entries are hashed, more have come than were there before.
    const engine: typeof inlineEngine = async (start) => {
      const inner = await inlineEngine(start);
      const advance: typeof inner.advance = async (end) => {
        if (hashings++ < 30) await trail?.append(10_000);
        await inner.advance(end);
      };
      return { ...inner, advance };
    };
    trail = await openTrail(dir.path, { engine, publishMs: 200 });
    await trail.append(10_000);
    await trail.integrity.published(9_999);
    expect(hashings).toBeGreaterThan(0);
    expect(hashings).toBeLessThan(30);
    hashings = 30;
    await trail.close();
    expect(await verify(dir.path)).toMatchObject({ verdict: 'verified' });
  });
});

describe('beginning anew', () => {
  test('keeps the old ledger aside, names its last head in the first record, and goes on under a new name', async () => {
    await using dir = await temporaryDirectory();
    await buildLedger(dir.path, 50);
    const old = parseHead(checkpointOf(dir.path));
    const made = await beginAnew(dir.path, { now: Date.now, reason: 'a test' });
    expect(made).toMatchObject({ lastKnown: 50 });
    expect(made.origin).not.toBe(old.origin);
    expect(await verify(dir.path, { keys: [made.vkey] })).toMatchObject({ verdict: 'verified', size: 1 });
    expect(await verify(made.archived)).toMatchObject({ size: 50 });
    const first = recordSchema.parse(JSON.parse(findByIndex(dir.join('ledger/segments'), 0).line.toString()));
    expect(first).toMatchObject({
      kind: 'gap',
      action: 'recover',
      details: { old_origin: old.origin, old_size: 50, old_checkpoint: old.noteText, reason: 'a test' },
    });
    const trail = await openTrail(dir.path);
    await trail.append(10);
    await trail.close();
    expect(await verify(dir.path, { keys: [made.vkey] })).toMatchObject({ verdict: 'verified', size: 11 });
  });

  test('is the way out after a rollback', async () => {
    await using dir = await temporaryDirectory();
    const data = dir.join('data');
    await buildLedger(data, 10);
    mkdirSync(dir.join('kept'));
    copyOf(`${data}/ledger`, dir.join('kept/ledger'));
    await openTrail(data).then(async (trail) => {
      await trail.append(10);
      await trail.close();
    });
    rmSync(`${data}/ledger`, { recursive: true });
    renameSync(dir.join('kept/ledger'), `${data}/ledger`);
    expect(await codeOfAsync(() => openTrail(data))).toBe('AUD_LEDGER_ROLLBACK');
    const made = await beginAnew(data, { now: Date.now });
    expect(made.lastKnown).toBe(20);
    await openTrail(data).then((trail) => trail.close());
    expect(await verify(data, { keys: [made.vkey] })).toMatchObject({ verdict: 'verified' });
  });
});

describe('a proof', () => {
  test('shows somebody with the record and the key that it is in the ledger, and nobody anything else', async () => {
    await using dir = await temporaryDirectory();
    const key = await buildLedger(dir.path, 600);
    const head = parseHead(checkpointOf(dir.path));
    const tiles = new TileReader(dir.join('ledger'), head.size);
    const found = findById(dir.join('ledger/segments'), 'shop:0/1F5:0');
    expect(found.index).toBe(500);
    const text = proofText(500, head, tiles);
    expect(checkProof(text, found.line, [key]).index).toBe(500);
    const other = findByIndex(dir.join('ledger/segments'), 499).line;
    expect(codeOf(() => checkProof(text, other, [key]))).toBe('AUD_LEDGER_PROOF');
    expect(codeOf(() => checkProof(text.replace('index 500', 'index 499'), found.line, [key]))).toBe(
      'AUD_LEDGER_PROOF',
    );
    expect(codeOf(() => checkProof(text, found.line, [generateSigningKey(head.origin).vkey]))).toBe('AUD_LEDGER_PROOF');
    expect(codeOf(() => checkProof(text, Buffer.from(found.line.toString().replace('xxx', 'yyy')), [key]))).toBe(
      'AUD_LEDGER_PROOF',
    );
    expect(codeOf(() => findById(dir.join('ledger/segments'), 'shop:0/FFFF:0'))).toBe('AUD_LEDGER_RECORD');
  });
});

test('a closed trail leaves no timer that would hold the process', async () => {
  const armed = armedTimers();
  await using dir = await temporaryDirectory();
  // More tiles than the end syncs: what is left is no reason to come back.
  const trail = await openTrail(dir.path);
  await trail.append(40_000);
  await trail.close();
  expect(armed.size).toBe(0);
});

/** The timers that were set and neither fired nor were taken back, from now on. */
function armedTimers(): ReadonlySet<NodeJS.Timeout> {
  const armed = new Set<NodeJS.Timeout>();
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const spied = (work: () => void, ms?: number) => {
    const timer = set(() => {
      armed.delete(timer);
      work();
    }, ms);
    armed.add(timer);
    return timer;
  };
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(spied as typeof set);
  vi.spyOn(globalThis, 'clearTimeout').mockImplementation((timer) => {
    armed.delete(timer as NodeJS.Timeout);
    clear(timer);
  });
  onTestFinished(() => void vi.restoreAllMocks());
  return armed;
}
