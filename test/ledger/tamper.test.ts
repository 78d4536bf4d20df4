// Every attack of the threat table in docs/guides/verify.md, with the answer the table gives.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { leafHash, sha256 } from '../../src/ledger/merkle.ts';
import type { VerifyReport } from '../../src/ledger/verify/report.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { buildLedger, checkpointOf, copyOf, openTrail, publicKey, verify } from './harness.ts';

const SEGMENT = 'ledger/segments/0000000000000000.ndjson';
const COUNT = 700;

let dir: TemporaryDirectory;
let key: string;
/** A head of 300 records and one of all, kept elsewhere. */
let early: Buffer;
let late: Buffer;
let copies = 0;

beforeAll(async () => {
  dir = await temporaryDirectory();
  const data = dir.join('original');
  const trail = await openTrail(data, { integrity: { origin: 'audit.example/attacked' } });
  await trail.append(300);
  await trail.integrity.published(299);
  early = Buffer.from(trail.integrity.head().noteText);
  await trail.append(COUNT - 300);
  await trail.close();
  key = publicKey(data);
  late = checkpointOf(data);
});

afterAll(() => dir[Symbol.asyncDispose]());

/** A copy to attack. */
function copy(): string {
  return copyOf(dir.join('original'), dir.join(`copy-${copies++}`));
}

function edit(path: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(path, change(readFileSync(path)));
}

function withAt(bytes: Buffer, at: number, part: Buffer): Buffer {
  part.copy(bytes, at);
  return bytes;
}

function linesOf(data: string): string[] {
  return readFileSync(join(data, SEGMENT), 'utf8').trimEnd().split('\n');
}

/** Changes record 10 and its entry; returns the entry. */
function changeWithEntry(data: string): Buffer {
  const lines = linesOf(data);
  lines[10] = lines[10]!.replace('xxx', 'yyy');
  writeFileSync(join(data, SEGMENT), `${lines.join('\n')}\n`);
  const entry = sha256(Buffer.from(lines[10]!, 'utf8'));
  edit(join(data, 'ledger/tile/entries/000'), (bytes) => withAt(bytes, 10 * 34 + 2, entry));
  return entry;
}

/** What the holder of the key can do: other lines, numbered anew, and a tree and signature that fit them. */
async function resign(data: string, lines: readonly string[]): Promise<void> {
  const numbered = lines.map((line, index) => line.replace(/^\{"v":1,"index":\d+/, `{"v":1,"index":${index}`));
  for (const name of ['ledger/tile', 'ledger/checkpoint', 'tree.json']) rmSync(join(data, name), { recursive: true });
  writeFileSync(join(data, SEGMENT), `${numbered.join('\n')}\n`);
  await openTrail(data, { integrity: { origin: 'audit.example/attacked' } }).then((trail) => trail.close());
}

function whatsOf(report: VerifyReport): string[] {
  return [...new Set(report.findings.map(({ what }) => what))];
}

const outside = (bytes: Buffer) => ({ heads: [{ name: 'outside', bytes }] });

test('the ledger as it was written is verified, alone and with heads kept elsewhere', async () => {
  const data = dir.join('original');
  expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'verified', compared: COUNT, findings: [] });
  for (const head of [early, late]) {
    expect(await verify(data, { keys: [key], ...outside(head) })).toMatchObject({
      verdict: 'verified',
      outside: [{ agrees: true }],
    });
  }
});

describe('without the key', () => {
  test('a byte of a record changed: found, with index and segment', async () => {
    const data = copy();
    edit(join(data, SEGMENT), (bytes) => {
      const at = bytes.indexOf('"id":400}');
      bytes[bytes.indexOf('xxx', at)] = 0x79;
      return bytes;
    });
    const report = await verify(data, { keys: [key] });
    expect(report.verdict).toBe('tampered');
    expect(report.findings).toEqual([
      expect.objectContaining({ what: 'line_changed', index: 400, segment: '0000000000000000.ndjson' }),
    ]);
  });

  test('a record and its entry changed together: found', async () => {
    const data = copy();
    changeWithEntry(data);
    const report = await verify(data, { keys: [key] });
    expect(report.verdict).toBe('tampered');
    expect(whatsOf(report)).toContain('tile_damaged');
  });

  test('a record, its entry and its leaf changed together: found', async () => {
    const data = copy();
    const entry = changeWithEntry(data);
    edit(join(data, 'ledger/tile/0/000'), (bytes) => withAt(bytes, 10 * 32, leafHash(entry)));
    const report = await verify(data, { keys: [key] });
    expect(report.verdict).toBe('tampered');
    expect(whatsOf(report)).toContain('root_differs');
  });

  test('two records swapped, also with their numbers put right: found', async () => {
    for (const renumber of [false, true]) {
      const data = copy();
      const lines = linesOf(data);
      [lines[20], lines[21]] = [lines[21]!, lines[20]!];
      if (renumber) for (const i of [20, 21]) lines[i] = lines[i]!.replace(/"index":\d+/, `"index":${i}`);
      writeFileSync(join(data, SEGMENT), `${lines.join('\n')}\n`);
      expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'tampered' });
    }
  });

  test('a record removed, or one inserted: found', async () => {
    for (const change of [
      (lines: string[]) => lines.splice(50, 1),
      (lines: string[]) => lines.splice(50, 0, lines[50]!),
    ]) {
      const data = copy();
      const lines = linesOf(data);
      change(lines);
      writeFileSync(join(data, SEGMENT), `${lines.join('\n')}\n`);
      const report = await verify(data, { keys: [key] });
      expect(report.verdict).toBe('tampered');
      expect(whatsOf(report)).toContain('index_wrong');
    }
  });

  test('a bundle, a tile or a segment deleted: cannot tell, and named', async () => {
    for (const [name, what] of [
      ['ledger/tile/entries/001', 'tile_missing'],
      ['ledger/tile/0/001', 'tile_missing'],
      [SEGMENT, 'segment_missing'],
    ] as const) {
      const data = copy();
      rmSync(join(data, name));
      const report = await verify(data, { keys: [key] });
      expect(report.verdict, name).toBe('incomplete');
      expect(whatsOf(report), name).toContain(what);
    }
  });

  test('the tail cut in the middle of a line: found', async () => {
    const data = copy();
    edit(join(data, SEGMENT), (bytes) => bytes.subarray(0, -10));
    expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'tampered' });
  });

  test('the tail cut at the end of a line: records are missing, and named', async () => {
    const data = copy();
    writeFileSync(join(data, SEGMENT), `${linesOf(data).slice(0, 650).join('\n')}\n`);
    const report = await verify(data, { keys: [key] });
    expect(report.verdict).toBe('incomplete');
    expect(report.findings[0]).toMatchObject({ what: 'segment_missing', index: 650 });
  });

  test('a record put behind the head: not covered, and said', async () => {
    const data = copy();
    const lines = linesOf(data);
    lines.push(lines.at(-1)!.replaceAll('699', '700').replaceAll('2BC', '2BD'));
    writeFileSync(join(data, SEGMENT), `${lines.join('\n')}\n`);
    const report = await verify(data, { keys: [key] });
    expect(report).toMatchObject({ verdict: 'incomplete', unsigned: 1 });
    expect(whatsOf(report)).toContain('unsigned_tail');
  });

  test('another key under the same name: another key signed', async () => {
    const data = copy();
    await buildLedger(dir.join('other'), COUNT, { integrity: { origin: 'audit.example/attacked' } });
    rmSync(join(data, 'ledger'), { recursive: true });
    cpSync(dir.join('other/ledger'), join(data, 'ledger'), { recursive: true });
    const report = await verify(data, { keys: [key] });
    expect(report.verdict).toBe('incomplete');
    expect(whatsOf(report)).toEqual(['key_unknown']);
    expect(await verify(data, { keys: [key], ...outside(late) })).toMatchObject({ verdict: 'tampered' });
  });

  test('an old checkpoint put back: the records behind it are not covered; a later head shows it', async () => {
    const data = copy();
    writeFileSync(join(data, 'ledger/checkpoint'), early);
    const alone = await verify(data, { keys: [key] });
    expect(alone).toMatchObject({ verdict: 'incomplete', unsigned: COUNT - 300 });
    const report = await verify(data, { keys: [key], ...outside(late) });
    expect(report.verdict).toBe('tampered');
    expect(whatsOf(report)).toContain('head_ahead');
  });

  test('an old copy of everything put back: passes alone, and says so; a later head shows it', async () => {
    const data = copy();
    writeFileSync(join(data, 'ledger/checkpoint'), early);
    writeFileSync(join(data, SEGMENT), `${linesOf(data).slice(0, 300).join('\n')}\n`);
    const alone = await verify(data, { keys: [key] });
    expect(alone).toMatchObject({ verdict: 'verified', size: 300, outside: [] });
    expect(await verify(data, { keys: [key], ...outside(late) })).toMatchObject({
      verdict: 'tampered',
      findings: [expect.objectContaining({ what: 'head_ahead' })],
    });
  });
});

describe('by the holder of the key', () => {
  const attacks: readonly (readonly [string, (lines: string[]) => void])[] = [
    ['drops a record', (lines) => lines.splice(100, 1)],
    [
      'inserts a record',
      (lines) =>
        lines.splice(
          100,
          0,
          lines[100]!
            .replace(':0","kind', ':0","kind')
            .replace('"0/65"', '"0/64"')
            .replace('shop:0/65:0', 'shop:0/64:1')
            .replace('"seq":0', '"seq":1'),
        ),
    ],
    ['edits a record', (lines) => (lines[100] = lines[100]!.replace('xxx', 'yyy'))],
  ];
  for (const [name, attack] of attacks) {
    test(`${name}, rebuilds and signs: passes alone, and a head kept elsewhere shows it`, async () => {
      const data = copy();
      const lines = linesOf(data);
      attack(lines);
      await resign(data, lines);
      expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'verified', outside: [] });
      for (const head of [early, late]) {
        const report = await verify(data, { keys: [key], ...outside(head) });
        expect(report.verdict).toBe('tampered');
        expect(whatsOf(report).some((what) => what === 'head_differs' || what === 'head_ahead')).toBe(true);
      }
    });
  }

  test('cuts the tail after a head was seen: passes alone, and the head shows it', async () => {
    const data = copy();
    await resign(data, linesOf(data).slice(0, 650));
    expect(await verify(data, { keys: [key] })).toMatchObject({ verdict: 'verified', size: 650 });
    const report = await verify(data, { keys: [key], ...outside(late) });
    expect(report).toMatchObject({ verdict: 'tampered', findings: [expect.objectContaining({ what: 'head_ahead' })] });
  });

  test('cuts a tail that nobody saw: passes, even with an older head, and the exposure is in the report', async () => {
    const data = copy();
    await resign(data, linesOf(data).slice(0, 650));
    const report = await verify(data, { keys: [key], ...outside(early) });
    expect(report).toMatchObject({ verdict: 'verified', size: 650, outside: [{ size: 300, agrees: true }] });
  });

  test('rewrites history but leaves a head record of before: found without a head from outside', async () => {
    const data = dir.join('with-heads');
    const trail = await openTrail(data, { integrity: { origin: 'audit.example/attacked' } });
    await trail.append(50);
    await trail.integrity.finish();
    await trail.append(50);
    await trail.integrity.finish();
    await trail.close();
    const own = publicKey(data);
    expect(await verify(data, { keys: [own] })).toMatchObject({
      verdict: 'verified',
      heads: { count: 2, checked: 2, foreign: 0 },
    });
    const lines = linesOf(data);
    lines[10] = lines[10]!.replace('xxx', 'yyy');
    await resign(data, lines);
    const report = await verify(data, { keys: [own] });
    expect(report.verdict).toBe('tampered');
    expect(whatsOf(report)).toEqual(['head_differs']);
  });

  test('shows two audiences two histories: each passes, and each one’s head contradicts the other', async () => {
    const other = copy();
    const lines = linesOf(other);
    lines[5] = lines[5]!.replace('xxx', 'yyy');
    await resign(other, lines);
    expect(await verify(other, { keys: [key], ...outside(checkpointOf(other)) })).toMatchObject({
      verdict: 'verified',
    });
    expect(await verify(other, { keys: [key], ...outside(late) })).toMatchObject({ verdict: 'tampered' });
  });

  test('captures a false value, or never writes a record: passes; no ledger can know', async () => {
    const data = dir.join('false');
    await buildLedger(data, 10, { integrity: { origin: 'audit.example/attacked' } });
    expect(await verify(data)).toMatchObject({ verdict: 'verified', key_from: 'directory' });
  });
});
