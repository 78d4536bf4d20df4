// Other people's code must agree. With Go and the checkers' sources at hand they are built and run; elsewhere the answers they
// gave are compared with, byte for byte: the ledgers here are the same everywhere.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { witnessAnchor } from '../../src/anchors/witness.ts';
import { localSigner, parseSigningKey } from '../../src/keys/private-key.ts';
import { isConsistent } from '../../src/ledger/merkle.ts';
import {
  checkpointText,
  type Head,
  parseHead,
  parseVerifierKey,
  signNote,
  withSignatures,
} from '../../src/ledger/note.ts';
import { proofText } from '../../src/ledger/proof.ts';
import { TileReader } from '../../src/ledger/tiles.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { openTrail } from './harness.ts';

/** A key for tests, known to everybody. */
const KEY = 'PRIVATE+KEY+changetrail.test/stock+0a1826da+AVYyCZzma2JHuoy+Y18tuhR4Vh0hB3cgGklo/WDjXBI+';
const SIZES = [0, 1, 255, 256, 257, 65_536, 70_000];
const NOW = 1_790_000_000_000;

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = process.env['CHANGETRAIL_STOCK_TOOLS'] ?? join(root, '../shared/prototypes');
const frozenPath = join(root, 'test/vectors/ledger/stock-tools.json');

interface Frozen {
  readonly [size: string]: { readonly checkpoint: string; readonly tiles: string; readonly answers: readonly string[] };
}

const key = parseSigningKey(KEY, 'this test', null);
const goIsHere = spawnSync('go', ['version']).status === 0 && existsSync(join(sources, 'verify-go/main.go'));

/** Builds one of the checkers; go caches what it compiled. */
function build(name: string): string {
  const binary = join(process.env['CHANGETRAIL_CACHE'] ?? join(root, '.cache'), 'stock-tools', name);
  mkdirSync(join(binary, '..'), { recursive: true });
  const result = spawnSync('go', ['build', '-o', binary, '.'], { cwd: join(sources, name), encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`go build of ${name}: ${result.stderr}`);
  return binary;
}

let dir: TemporaryDirectory;

beforeAll(async () => {
  process.env['CHANGETRAIL_TEST_SIGNING_KEY'] = KEY;
  dir = await temporaryDirectory();
  console.log(
    goIsHere
      ? 'stock tools: built from source and run (x/mod note and tlog, tessera fsck, transparency-dev/formats, a stock witness)'
      : 'stock tools: Go or their sources are not here; compared with the answers in test/vectors/ledger/stock-tools.json',
  );
});

afterAll(() => dir[Symbol.asyncDispose]());

/** A ledger of `size` records, the same each time, as the checkers want it: `log/` and `log.vkey`. */
async function ledgerOf(size: number): Promise<string> {
  const data = dir.join(`data-${size}`);
  const trail = await openTrail(data, {
    now: () => NOW,
    integrity: { keys: [{ env: 'CHANGETRAIL_TEST_SIGNING_KEY' }] },
    // One head, at the end: how far the tree had come at any moment before would show in the partial tiles that stay.
    publishMs: 600_000,
  });
  await trail.append(size, 0);
  await trail.close();
  const place = dir.join(`stock-${size}`);
  cpSync(join(data, 'ledger'), join(place, 'log'), { recursive: true });
  writeFileSync(join(place, 'log.vkey'), `${key.vkey}\n`);
  return place;
}

/** One hash over the names and contents of all tiles. */
function digestOf(tiles: string): string {
  const digest = createHash('sha256');
  const entries = existsSync(tiles) ? readdirSync(tiles, { recursive: true, withFileTypes: true }) : [];
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of files.sort()) digest.update(`${relative(tiles, path)}\n`).update(readFileSync(path));
  return digest.digest('hex');
}

/** Lines that the checkers print when they accept. */
function accepts(binary: string, place: string, mode: string): string[] {
  const result = spawnSync(binary, [place, mode], { encoding: 'utf8', timeout: 120_000 });
  expect(result.error, 'a checker that does not end has not accepted').toBeUndefined();
  const lines = result.stdout.split('\n').filter((line) => line.startsWith('ok') || line.startsWith('FAIL'));
  expect(result.status, result.stdout).toBe(0);
  return lines;
}

describe('ledgers of every edge of the tiles', () => {
  for (const size of SIZES) {
    test(`${size} records`, { timeout: 600_000 }, async () => {
      const place = await ledgerOf(size);
      const checkpoint = readFileSync(join(place, 'log/checkpoint'), 'utf8');
      const tiles = digestOf(join(place, 'log/tile'));
      if (goIsHere) {
        const binary = build('verify-go');
        // The proofs of the first mode are drawn at random, which takes at least one record.
        const answers = [...(size > 0 ? accepts(binary, place, 'heads') : []), ...accepts(binary, place, 'fsck')];
        expect(answers.length).toBeGreaterThan(0);
        expect(answers.every((line) => line.startsWith('ok'))).toBe(true);
        freeze(size, { checkpoint, tiles, answers });
      }
      const frozen = (JSON.parse(readFileSync(frozenPath, 'utf8')) as Frozen)[size]!;
      expect({ checkpoint, tiles }).toEqual({ checkpoint: frozen.checkpoint, tiles: frozen.tiles });
      expect(frozen.answers.every((line) => line.startsWith('ok'))).toBe(true);
    });
  }
});

/** Writes what was accepted, when asked to. */
function freeze(size: number, accepted: Frozen[string]): void {
  if (process.env['CHANGETRAIL_UPDATE_VECTORS'] !== '1') return;
  const known = existsSync(frozenPath) ? (JSON.parse(readFileSync(frozenPath, 'utf8')) as Frozen) : {};
  writeFileSync(frozenPath, `${JSON.stringify({ ...known, [size]: accepted }, null, 1)}\n`);
}

describe.skipIf(!goIsHere)('a stock witness (needs Go and its sources)', () => {
  test('cosigns heads that continue, refuses a rollback and a fork; the cosigned head and proofs are accepted', {
    timeout: 600_000,
  }, async () => {
    const place = await ledgerOf(700);
    const tiles = new TileReader(join(place, 'log'), 700);
    const headOf = async (size: number, rootHash = tiles.rootAt(size)): Promise<Head> =>
      parseHead(await signNote(checkpointText({ origin: key.name, size, root: rootHash }), [localSigner(key)]));
    await using witness = await startWitness(place);
    const anchor = witnessAnchor({ type: 'witness', url: witness.url, vkey: witness.vkey }, dir.join('anchors'));
    const ledger = {
      origin: key.name,
      keys: () => [parseVerifierKey(key.vkey)],
      consistency: (older: number, newer: number) => tiles.consistency(older, newer),
    };
    const { signal } = new AbortController();
    for (const size of [1, 300, 700]) {
      expect(await anchor.put(await headOf(size), ledger, signal), `${size}`).toMatchObject({ answer: 'held' });
    }
    expect(await anchor.put(await headOf(300), ledger, signal)).toEqual({ answer: 'ahead', size: 700 });
    const forgedRoot = tiles.rootAt(699);
    expect(await anchor.put(await headOf(700, forgedRoot), ledger, signal)).toMatchObject({ answer: 'fork' });
    // Another process that lost its state goes on where the witness says.
    const fresh = witnessAnchor({ type: 'witness', url: witness.url, vkey: witness.vkey }, dir.join('anchors-lost'));
    const again = await fresh.put(await headOf(700), ledger, signal);
    expect(again.answer).toBe('held');

    const cosigned = withSignatures((await headOf(700)).noteText, again.answer === 'held' ? again.signatures : []);
    writeFileSync(join(place, 'log/checkpoint'), cosigned);
    writeFileSync(join(place, 'witness.vkey'), `${witness.vkey}\n`);
    for (const index of [0, 255, 256, 699]) {
      writeFileSync(join(place, `${index}.tlog-proof`), proofText(index, await headOf(700), tiles));
    }
    const result = spawnSync(build('verify-go'), [place], { encoding: 'utf8', timeout: 120_000 });
    expect(result.status, result.stdout).toBe(0);
    expect(result.stdout).toContain('cosignature/v1 by the witness');
    expect(result.stdout.match(/CheckRecord on Node's/g)).toHaveLength(4);
    expect(isConsistent({ size: 300, root: tiles.rootAt(300) }, tiles.head(), tiles.consistency(300))).toBe(true);
  });
});

async function startWitness(place: string): Promise<AsyncDisposable & { url: string; vkey: string }> {
  const child = spawn(build('witness-go'), [place], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  const lines = await new Promise<string[]>((resolve, reject) => {
    child.on('exit', () => reject(new Error('the witness ended')));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.split('\n').length > 2) resolve(output.split('\n'));
    });
  });
  return {
    url: lines[0]!,
    vkey: lines[1]!,
    async [Symbol.asyncDispose]() {
      child.removeAllListeners('exit');
      child.kill();
    },
  };
}
