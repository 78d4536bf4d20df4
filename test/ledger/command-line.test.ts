// verify, prove, keys and recover as an auditor meets them: the real command line, no configuration, no database.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findByIndex } from '../../src/ledger/find-record.ts';
import { listSegments } from '../../src/ledger/layout.ts';
import { parseHead } from '../../src/ledger/note.ts';
import type { VerifyReport } from '../../src/ledger/verify/report.ts';
import { type LaunchOptions, runCommandLine } from '../e2e/support/trail-process.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { buildLedger, checkpointOf, copyOf, openTrail, publicKey } from './harness.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DAY = 86_400_000;
const START = Date.parse('2026-01-01T00:00:00Z');
/** Forty records close a segment. */
const SMALL = { segmentBytes: 12_000, groupMs: 0 };

let shared: TemporaryDirectory;
/** 100 records in three segments, with one head record. */
let original: string;
let vkey: string;
let dir: TemporaryDirectory;
let data: string;

beforeAll(async () => {
  shared = await temporaryDirectory();
  original = shared.join('data');
  const trail = await openTrail(original, { ledger: SMALL, integrity: { origin: 'audit.example/shop' } });
  for (const count of [40, 40, 19]) await trail.append(count);
  await trail.integrity.finish();
  await trail.close();
  vkey = publicKey(original);
});

afterAll(() => shared[Symbol.asyncDispose]());

beforeEach(async () => {
  dir = await temporaryDirectory();
  data = copyOf(original, dir.join('data'));
  return () => dir[Symbol.asyncDispose]();
});

/** Runs in a directory without a configuration; nothing may say that this is a defect. */
async function run(args: readonly string[], options: LaunchOptions = {}) {
  const { exit, stdout, stderr } = await runCommandLine(args, { cwd: dir.path, ...options });
  expect(stderr).not.toContain('a defect');
  return { code: exit?.code, stdout, stderr };
}

async function verifyJson(args: readonly string[], options: LaunchOptions = {}) {
  const { code, stdout, stderr } = await run(['verify', ...args, '--json'], options);
  return { code, stderr, report: JSON.parse(stdout) as VerifyReport };
}

const segmentOf = (at: number) => listSegments(join(data, 'ledger/segments'))[at]!.path;

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  expect(at).toBeGreaterThanOrEqual(0);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}

describe('verify', () => {
  test('exit 0: says what was checked, by which key, and what stays exposed', async () => {
    const { code, stdout, stderr } = await run(['verify', './data', '--key', vkey]);
    expect(stdout).toMatch(/^VERIFIED {2}100 records in \d+\.\d s\n/);
    expect(stdout).toContain('audit.example/shop, 100 records under the signed head');
    expect(stdout).toContain('key       the key that was given');
    expect(stdout).toContain('source    shop: 99 changes, 0/1 to 0/63;');
    expect(stdout).toContain('1 of 1 earlier head in records compared with the tree');
    expect(stdout).toContain('No head from outside was given.');
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });

  test('the default directory is ./changetrail-data; without a key it says that this proves less', async () => {
    renameSync(data, dir.join('changetrail-data'));
    const { code, stdout } = await run(['verify']);
    expect(code).toBe(0);
    expect(stdout).toContain('a key that this directory itself names');
  });

  test('keys come as text or as a file, several times, and the directory may stand behind them', async () => {
    writeFileSync(dir.join('audit.vkey'), `# of the owner\n${vkey}\n`);
    const other = await buildLedger(dir.join('other'), 1);
    for (const args of [
      ['--key', 'audit.vkey', './data'],
      ['--key', other, '--key', vkey, './data/ledger'],
    ]) {
      const { code, report } = await verifyJson(args);
      expect({ code, ...report }).toMatchObject({ code: 0, verdict: 'verified', signed_by: [vkey], key_from: 'given' });
    }
  });

  test('exit 1: one changed byte is named by index and segment', async () => {
    const path = segmentOf(1);
    flip(path, readFileSync(path).indexOf('xxxx'));
    const { code, stdout } = await run(['verify', './data', '--key', vkey]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^TAMPERED {2}1 finding\n/);
    const first = listSegments(join(data, 'ledger/segments'))[1]!.first;
    expect(stdout).toContain(
      `✗ Record ${first} is not the one that was signed (${path.split('/').at(-1)}, index ${first})`,
    );
    expect(stdout).not.toContain('exposure');
  });

  test('exit 2: another key, or a key that is none', async () => {
    const other = await buildLedger(dir.join('other'), 1);
    const foreign = await run(['verify', './data', '--key', other]);
    expect(foreign.code).toBe(2);
    expect(foreign.stdout).toMatch(/^CANNOT TELL/);
    expect(foreign.stdout).toContain('The key that was given did not sign this ledger; the checkpoint is signed by');
    writeFileSync(dir.join('no.vkey'), 'hello\n');
    for (const key of ['no.vkey', './data', './nowhere.vkey', `${vkey.slice(0, -6)}AAAAAA`]) {
      const { code, stderr } = await run(['verify', './data', '--key', key]);
      expect(code, key).toBe(2);
      expect(stderr, key).toMatch(/^changetrail: .+\n {2}→ .+\n {2}\(AUD_[A-Z_]+\)\n$/);
    }
  });

  test('exit 2: no directory, an empty one, a file, a folder of something else', async () => {
    mkdirSync(dir.join('empty'));
    for (const path of ['./nowhere', './empty', './data/tree.json']) {
      const { code, stderr } = await run(['verify', path, '--key', vkey]);
      expect(code, path).toBe(2);
      expect(stderr, path).toContain(`There is no ledger in ${path}.`);
    }
    rmSync(join(data, 'ledger/checkpoint'));
    const { code, stdout } = await run(['verify', './data', '--key', vkey]);
    expect(code).toBe(2);
    expect(stdout).toContain('There is no checkpoint, so nothing says what was signed');
  });

  test('a head from outside, as a checkpoint or as a sink’s record, narrows what is exposed', async () => {
    const head = findByIndex(join(data, 'ledger/segments'), 99).line.toString('utf8');
    writeFileSync(dir.join('siem.json'), `\ufeff[{"_source": ${head}}]\n`);
    const { code, stdout } = await run(['verify', './data', '--key', vkey, '--head', 'siem.json']);
    expect(code).toBe(0);
    expect(stdout).toContain('outside   siem.json: head of 99 records agrees');
    expect(stdout).toContain('Records 99 to 99 are newer than the newest head from outside that agrees');
    expect((await verifyJson(['./data', '--head', 'siem.json'])).report.exposed_from).toBe(99);
    const full = await verifyJson(['./data', '--key', vkey, '--head', 'siem.json', './data/ledger/checkpoint']);
    expect(full.report.outside).toEqual([
      { name: 'siem.json', size: 99, agrees: true },
      { name: './data/ledger/checkpoint', size: 100, agrees: true },
    ]);
    expect(full.report.exposed_from).toBeNull();
  });

  test('a head from outside of another history: exit 1; a file that is no head: exit 2', async () => {
    const other = dir.join('other');
    const trail = await openTrail(other, { integrity: { keys: [], origin: 'audit.example/shop' } });
    await trail.append(3);
    await trail.close();
    const heads = {
      foreign: checkpointOf(other),
      none: Buffer.from('nothing'),
      record: Buffer.from('{"kind":"change"}'),
    };
    for (const [name, bytes] of Object.entries(heads)) writeFileSync(dir.join(name), bytes);
    const args = ['./data', '--key', vkey, '--key', publicKey(other), '--head'];
    expect(await verifyJson([...args, 'foreign'])).toMatchObject({ code: 1, report: { verdict: 'tampered' } });
    expect(await verifyJson([...args, 'none'])).toMatchObject({ code: 2, report: { verdict: 'incomplete' } });
    const record = await run(['verify', ...args, 'record']);
    expect(record).toMatchObject({ code: 2, stdout: '' });
    expect(record.stderr).toContain('record holds no head: nothing in it is named "checkpoint"');
  });

  test('--from leaves out what was checked before, --source looks at one source only', async () => {
    flip(segmentOf(0), readFileSync(segmentOf(0)).indexOf('xxxx'));
    expect(await verifyJson(['./data', '--key', vkey])).toMatchObject({ code: 1 });
    const later = await verifyJson(['./data', '--key', vkey, '--from', '60', '--source', 'docs']);
    expect(later).toMatchObject({ code: 0, report: { compared: 40, sources: [] } });
    const wrong = await run(['verify', './data', '--from', 'last-week']);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('--from takes an index');
  });

  test('compressed, plain and removed segments beside one another', async () => {
    const mixed = dir.join('mixed');
    let now = START;
    const days = async (count: number, integrity: object) => {
      const trail = await openTrail(mixed, { ledger: SMALL, now: () => now, integrity });
      for (let day = 0; day < count; day++) {
        now += DAY;
        await trail.append(40);
      }
      await trail.integrity.published(trail.ledger.writer.durable.next - 1);
      await trail.integrity.maintain();
      await trail.close();
    };
    await days(12, { compress: 'zstd', retention: '8d' });
    await days(4, {});
    const forms = listSegments(join(mixed, 'ledger/segments')).map(({ compressed }) => compressed);
    expect(forms[0]).toBe(true);
    expect(forms.at(-2)).toBe(false);
    const { code, stdout } = await run(['verify', mixed, '--key', publicKey(mixed)]);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/removed {3}records 0 to \d+, as the retention record \d+ says/);
    const [first, second] = listSegments(join(mixed, 'ledger/segments'));
    flip(second!.path, 100);
    expect(await run(['verify', mixed])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('cannot be read: '),
    });
    rmSync(second!.path);
    const hole = await run(['verify', mixed]);
    expect(hole).toMatchObject({ code: 2, stdout: expect.stringContaining('are not there') });
    rmSync(first!.path);
    expect((await run(['verify', mixed])).stdout).toContain('no retention record says that they went');
  });

  test('a directory in place of a segment or a tile: cannot tell, and named', async () => {
    const path = segmentOf(0);
    rmSync(path);
    mkdirSync(path);
    const { code, stdout } = await run(['verify', './data', '--key', vkey]);
    expect(code).toBe(2);
    expect(stdout).toContain('Segment 0000000000000000.ndjson cannot be read from record 0 on: EISDIR');
    const tile = join(data, 'ledger/tile/0/000.p/100');
    rmSync(tile);
    mkdirSync(tile);
    expect(await verifyJson(['./data'])).toMatchObject({
      code: 2,
      report: { findings: expect.arrayContaining([expect.objectContaining({ what: 'tile_unreadable' })]) },
    });
  });

  test('a tile that was cut: tampered, also where earlier heads need it', async () => {
    const tile = join(data, 'ledger/tile/0/000.p/100');
    writeFileSync(tile, readFileSync(tile).subarray(0, 50));
    const { code, report } = await verifyJson(['./data', '--key', vkey, '--head', './data/ledger/checkpoint']);
    expect(code).toBe(1);
    expect(report.findings.map(({ what }) => what)).toContain('tile_damaged');
  });

  describe('as somebody who may not read all of it', () => {
    /** Root reads everything, so it becomes somebody else for this. */
    const unprivileged: LaunchOptions =
      process.getuid?.() === 0
        ? { wrapper: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'], cwd: '/' }
        : { cwd: '/' };

    beforeEach(() => {
      execFileSync('chmod', ['-R', 'a+rX', dir.path]);
      chmodSync(join(data, 'keys'), 0o700);
    });

    test('the keys are not needed', async () => {
      expect(await run(['verify', data, '--key', vkey], unprivileged)).toMatchObject({ code: 0 });
    });

    for (const [name, said] of [
      ['ledger/segments/0000000000000000.ndjson', /Segment .+ cannot be read: EACCES/],
      ['ledger/segments', /The folder segments cannot be read: EACCES/],
      ['ledger/tile/0/000.p/100', /Cannot read tile 0\/000: EACCES/],
      ['ledger/tile', /Cannot read tile .+: EACCES/],
      ['ledger/checkpoint', /checkpoint: EACCES/],
    ] as const) {
      test(`${name}: cannot tell, and says what cannot be read`, async () => {
        chmodSync(join(data, name), 0o000);
        const { code, stdout } = await run(['verify', data, '--key', vkey], unprivileged);
        chmodSync(join(data, name), 0o755);
        expect(stdout).toMatch(/^CANNOT TELL/);
        expect(stdout).toMatch(said);
        expect(code).toBe(2);
      });
    }

    test('the ledger itself: cannot tell', async () => {
      chmodSync(data, 0o000);
      const { code, stderr } = await run(['verify', data, '--key', vkey], unprivileged);
      chmodSync(data, 0o755);
      expect(stderr).toContain('cannot be looked at: EACCES');
      expect(code).toBe(2);
    });
  });

  test('while the ledger is written, compressed and pruned: verified, and never called tampered', async () => {
    const live = dir.join('live');
    const integrity = { compress: 'zstd', retention: '1d' };
    let now = Date.now() - 10 * DAY;
    const trail = await openTrail(live, { ledger: { segmentBytes: 200_000, groupMs: 0 }, integrity, now: () => now });
    await trail.append(2_000);
    await trail.integrity.finish();
    const answers: Awaited<ReturnType<typeof run>>[] = [];
    let running = true;
    const verifying = (async () => {
      for (let i = 0; i < 4; i++) answers.push(await run(['verify', live, '--key', publicKey(live)]));
    })().finally(() => {
      running = false;
    });
    while (running) {
      now += DAY / 4;
      await trail.append(300);
      await trail.integrity.maintain();
    }
    await verifying;
    await trail.close();
    expect(answers.map(({ stdout }) => stdout).join('\n')).not.toContain('TAMPERED');
    // A segment may go between the list and the look: then it says so, and the next try tells.
    for (const { code, stdout } of answers) expect([0, 2], stdout).toContain(code);
    expect(await run(['verify', live, '--key', publicKey(live)])).toMatchObject({ code: 0 });
  });

  test('while a ledger that keeps all is written: verified each time', async () => {
    const live = dir.join('live');
    const trail = await openTrail(live, { ledger: { segmentBytes: 200_000, groupMs: 0 }, thread: true });
    await trail.append(2_000);
    await trail.integrity.finish();
    const key = publicKey(live);
    let running = true;
    const verifying = (async () => {
      for (let i = 0; i < 3; i++) {
        const { code, stdout } = await run(['verify', live, '--key', key]);
        expect(stdout).toMatch(/^VERIFIED/);
        expect(code).toBe(0);
      }
    })().finally(() => {
      running = false;
    });
    while (running) await trail.append(200);
    await verifying;
    await trail.close();
  });

  test.skipIf(!existsSync('/usr/bin/script'))('on a terminal it shows how far it is', async () => {
    const main = join(ROOT, 'src/cli/main.ts');
    const line = `'${process.execPath}' --disable-warning=ExperimentalWarning '${main}' verify '${data}' --key '${vkey}'`;
    const seen = execFileSync('script', ['-qec', line, '/dev/null'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(seen).toMatch(/[█░]{30} verified \d+ %/);
    expect(seen).toContain('\r\u001b[2KVERIFIED  100 records');
  });
});

describe('prove, and verify --proof', () => {
  test('a record by its index or its id, for somebody who has nothing else', async () => {
    for (const [record, index] of [
      ['42', 42],
      ['shop:0/B:0', 10],
    ] as const) {
      const proved = await run(['prove', record, '--data', 'data']);
      expect(proved).toMatchObject({ code: 0, stdout: '' });
      expect(proved.stderr).toContain(`record ${index} under the head of 100 records`);
      const [json, proof] = [`record-${index}.json`, `record-${index}.tlog-proof`];
      expect(JSON.parse(readFileSync(dir.join(json), 'utf8'))).toMatchObject({ index });
      const away = dir.join(`away-${index}`);
      mkdirSync(away);
      for (const name of [json, proof]) renameSync(dir.join(name), join(away, name));
      const args = ['verify', '--proof', proof, '--record', json, '--key', vkey];
      const checked = await run(args, { cwd: away });
      expect(checked.stdout).toBe(
        `VERIFIED  This is record ${index} of audit.example/shop, under its signed head of 100 records.\n`,
      );
      expect(checked.code).toBe(0);
      const answer = await run([...args, '--json'], { cwd: away });
      expect(JSON.parse(answer.stdout)).toEqual({
        verdict: 'verified',
        index,
        origin: 'audit.example/shop',
        size: 100,
      });
    }
  });

  test('exit 1 where record and proof contradict one another, exit 2 where nothing can be said', async () => {
    await run(['prove', '42', '--data', 'data', '--out', 'mine']);
    const other = await buildLedger(dir.join('other'), 1);
    const record = readFileSync(dir.join('mine.json'), 'utf8');
    writeFileSync(dir.join('changed.json'), record.replace('xxx', 'yyy'));
    writeFileSync(dir.join('none.tlog-proof'), 'hello');
    const check = (proof: string, json: string, key: string) =>
      run(['verify', '--proof', proof, '--record', json, '--key', key]);
    expect(await check('mine.tlog-proof', 'changed.json', vkey)).toMatchObject({
      code: 1,
      stdout: 'TAMPERED  The proof does not hold: the record is not the one at this index under this head.\n',
    });
    expect(await check('mine.tlog-proof', 'mine.json', other)).toMatchObject({
      code: 2,
      stdout: 'CANNOT TELL  The proof cannot be checked: its checkpoint is not signed by the given key.\n',
    });
    expect(await check('none.tlog-proof', 'mine.json', vkey)).toMatchObject({ code: 2 });
    expect(await run(['verify', '--proof', 'mine.tlog-proof', '--key', vkey])).toMatchObject({ code: 2, stdout: '' });
  });

  test('a record that is not there, or no ledger, is said', async () => {
    const missing = await run(['prove', 'shop:0/FFFF:0', '--data', 'data']);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain('has no record of the id shop:0/FFFF:0');
    expect(readdirSync(dir.path)).toEqual(['data']);
    const nowhere = await run(['prove', '1', '--data', 'nowhere']);
    expect(nowhere.code).toBe(2);
    expect(nowhere.stderr).toContain('There is no ledger in nowhere.');
  });
});

describe('keys', () => {
  test('are shown, exported, and rotated with an overlap in which either verifies', async () => {
    const shown = await run(['keys', 'show', '--data', 'data']);
    expect(shown.stdout).toMatch(
      /^origin {2}audit\.example\/shop\nkey {5}audit\.example\/shop\+\S+\n {8}since \S+Z, signs\n$/,
    );
    expect((await run(['keys', 'export-public', '--data', 'data'])).stdout).toBe(`${vkey}\n`);
    const rotated = await run(['keys', 'rotate', '--data', 'data', '--overlap', '2d']);
    expect(rotated.stderr).toContain('The one before signs for 2d more.');
    const next = rotated.stdout.trim();
    expect(next).not.toBe(vkey);
    const json = JSON.parse((await run(['keys', 'show', '--data', 'data', '--json'])).stdout) as { keys: unknown[] };
    expect(json.keys).toEqual([
      expect.objectContaining({ vkey, signs: true, until: expect.stringMatching(/Z$/) }),
      expect.objectContaining({ vkey: next, signs: true, until: null }),
    ]);
    const trail = await openTrail(data);
    await trail.append(1);
    await trail.close();
    const exported = (await run(['keys', 'export-public', '--data', 'data'])).stdout;
    expect(exported).toBe(`${vkey}\n${next}\n`);
    for (const key of [vkey, next]) expect(await run(['verify', 'data', '--key', key])).toMatchObject({ code: 0 });
  });

  test('of the configuration are exported as they signed, and rotated there', async () => {
    rmSync(join(data, 'keys'), { recursive: true });
    expect((await run(['keys', 'export-public', '--data', 'data'])).stdout).toBe(`${vkey}\n`);
    expect((await run(['keys', 'show', '--data', 'data'])).stdout).toContain('signs; given in the configuration');
    const rotated = await run(['keys', 'rotate', '--data', 'data']);
    expect(rotated).toMatchObject({ code: 2, stdout: '' });
    expect(rotated.stderr).toContain('are rotated there');
  });

  test('where nothing was signed yet it says what creates one', async () => {
    mkdirSync(dir.join('fresh'));
    const { code, stderr } = await run(['keys', 'show', '--data', 'fresh']);
    expect(code).toBe(2);
    expect(stderr).toContain('Start changetrail run');
  });
});

describe('recover', () => {
  test('says what it would do and changes nothing without --yes', async () => {
    const before = readdirSync(data);
    const { code, stdout, stderr } = await run(['recover', '--data', 'data']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain('The last known head of the old one, audit.example/shop, covers 100 records.');
    expect(stderr).toContain('Nothing was changed; add --yes to do it.');
    expect(readdirSync(data)).toEqual(before);
  });

  test('begins a new ledger that names the old one; both verify', async () => {
    const made = await run([
      'recover',
      '--data',
      'data',
      '--yes',
      '--reason',
      'a test',
      '--origin',
      'audit.example/two',
    ]);
    expect(made.code).toBe(0);
    expect(made.stderr).toContain('Began the ledger audit.example/two; it names the old one’s head of 100 records.');
    const key = made.stdout.trim();
    expect(key).toMatch(/^audit\.example\/two\+/);
    const archived = readdirSync(data).find((name) => name.startsWith('ledger.'))!;
    expect(await run(['verify', 'data', '--key', key])).toMatchObject({ code: 0 });
    expect(await run(['verify', `data/${archived}`, '--key', vkey])).toMatchObject({ code: 0 });
    const first = JSON.parse(findByIndex(join(data, 'ledger/segments'), 0).line.toString()) as object;
    expect(first).toMatchObject({ kind: 'gap', details: { reason: 'a test', old_size: 100 } });
  });

  test('takes a newer head from outside, and refuses one of another ledger', async () => {
    const grown = copyOf(data, dir.join('grown'));
    const trail = await openTrail(grown);
    await trail.append(50);
    await trail.close();
    writeFileSync(dir.join('siem.json'), JSON.stringify({ details: { checkpoint: checkpointOf(grown).toString() } }));
    await buildLedger(dir.join('other'), 3);
    const foreign = await run(['recover', '--data', 'data', '--yes', '--head', 'other/ledger/checkpoint']);
    expect(foreign.code).toBe(2);
    expect(foreign.stderr).toContain('but the ledger here is audit.example/shop');
    const made = await run(['recover', '--data', 'data', '--yes', '--head', 'siem.json']);
    expect(made.stderr).toContain(`names the old one’s head of ${parseHead(checkpointOf(grown)).size} records`);
    expect(made.code).toBe(0);
  });

  test('refuses a directory without a ledger, and one that another process writes', async () => {
    mkdirSync(dir.join('empty'));
    const empty = await run(['recover', '--data', 'empty', '--yes']);
    expect(empty.code).toBe(2);
    expect(empty.stderr).toContain('There is no ledger in empty.');
    expect(readdirSync(dir.join('empty'))).toEqual([]);
    const trail = await openTrail(data);
    const locked = await run(['recover', '--data', 'data', '--yes']);
    await trail.close();
    expect(locked.code).toBe(3);
    expect(locked.stderr).toContain(`(AUD_LEDGER_LOCKED)`);
  });
});

describe('as it is installed', () => {
  const bundled = join(ROOT, '.cache', `bundled-${randomUUID()}`);

  afterAll(() => rmSync(bundled, { recursive: true, force: true }));

  test('the published command line verifies in threads and proves', { timeout: 300_000 }, async () => {
    execFileSync(process.execPath, [join(ROOT, 'scripts/bundle.ts'), 'dist', bundled]);
    const main = join(bundled, 'main.js');
    expect(await run(['verify', 'data', '--key', vkey], { main })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^VERIFIED {2}100 records/),
    });
    flip(segmentOf(2), 200);
    expect(await run(['verify', 'data', '--key', vkey], { main })).toMatchObject({ code: 1 });
    expect(await run(['prove', '1', '--data', 'data'], { main })).toMatchObject({ code: 0 });
    expect(
      await run(['verify', '--proof', 'record-1.tlog-proof', '--record', 'record-1.json', '--key', vkey], { main }),
    ).toMatchObject({ code: 0 });
  });
});
