// Fails the n-th file operation, for every n, in the life of a ledger; then starts again and verifies.
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { AuditError } from '../../src/errors/audit-error.ts';
import { Keyring } from '../../src/keys/keyring.ts';
import { type FaultPoint, type FileOperation, setFaultPoint } from '../../src/ledger/file-ops.ts';
import { listSegments } from '../../src/ledger/layout.ts';
import { openTrail, publicKey, type TestTrail, verify } from '../ledger/harness.ts';
import { temporaryDirectory } from '../support/tmp.ts';

afterEach(() => setFaultPoint(null));

/** What the outside has been told: it must still be true after any failure. */
interface Told {
  /** Records reported durable. */
  durable: number;
  readonly heads: string[];
}

/** Five hundred lives and more: a sync of a disk in each of their steps is what would take the time, and no failure needs it. */
const MEMORY = '/dev/shm';
const PLACE = existsSync(MEMORY) ? MEMORY : undefined;

const DAY_MS = 86_400_000;
const OPTIONS = { ledger: { segmentBytes: 40_000 }, integrity: { origin: 'test/faults' } } as const;
/** The second run comes six days later: what the first one wrote is compressed, and the oldest segment goes. */
const LATER = {
  ...OPTIONS,
  integrity: { ...OPTIONS.integrity, compress: 'zstd', retention: '5d' },
  now: () => Date.now() + 6 * DAY_MS,
  publishMs: 1,
} as const;

/** Two runs: appends over several segments, heads, key rotation, retention, compression, end. */
async function live(data: string, told: Told): Promise<void> {
  for (let run = 0; run < 2; run++) {
    const trail = await openTrail(data, run === 0 ? OPTIONS : LATER);
    try {
      await record(trail, run, told);
    } finally {
      await trail.close();
    }
  }
}

async function record(trail: TestTrail, run: number, told: Told): Promise<void> {
  trail.integrity.onHead((head) => told.heads.push(head.noteText));
  const append = async (count: number) => {
    await trail.append(count);
    told.durable = trail.ledger.writer.durable.next;
  };
  if (run === 1) await trail.integrity.maintain();
  await append(150);
  await append(120);
  await trail.integrity.finish();
  if (run === 0) new Keyring(trail.ledger.layout.keys).add('test/faults', Date.now());
  await append(10);
  await trail.integrity.finish();
}

/** After the failure: everything opens again, goes on, verifies, and nothing that was told is untrue. */
async function recoverAndCheck(data: string, told: Told, what: string): Promise<void> {
  setFaultPoint(null);
  const trail = await openTrail(data, OPTIONS);
  expect(trail.ledger.writer.durable.next, what).toBeGreaterThanOrEqual(told.durable);
  await trail.append(5);
  await trail.integrity.finish();
  await trail.close();
  const heads = told.heads.map((note, i) => ({ name: `head ${i}`, bytes: Buffer.from(note) }));
  const keys = new Keyring(`${data}/keys`).entries().map(({ vkey }) => vkey);
  const report = await verify(data, { keys, heads });
  expect(report.findings, what).toEqual([]);
  expect(report.verdict, what).toBe('verified');
  expect(keys, what).toContain(publicKey(data));
}

/** The file operations of a life without failures. */
async function listOperations(): Promise<FileOperation[]> {
  await using dir = await temporaryDirectory(PLACE);
  const operations: FileOperation[] = [];
  setFaultPoint((operation) => {
    operations.push(operation);
    return undefined;
  });
  await live(dir.path, { durable: 0, heads: [] });
  setFaultPoint(null);
  const segments = listSegments(`${dir.path}/ledger/segments`);
  expect(segments[0]!.first, 'retention is part of the life').toBeGreaterThan(0);
  expect(segments[0]!.compressed, 'compression is part of the life').toBe(true);
  return operations;
}

function diskFull(): Error {
  return Object.assign(new RangeError('ENOSPC: no space left on device'), { code: 'ENOSPC' });
}

/** Runs the life with the n-th operation failing in the given way; false when it had not so many. */
async function failAt(n: number, how: 'once' | 'from_then_on' | 'half_written'): Promise<boolean> {
  await using dir = await temporaryDirectory(PLACE);
  const told: Told = { durable: 0, heads: [] };
  let count = 0;
  let failed = '';
  const point: FaultPoint = (operation, path) => {
    count++;
    if (count < n || (count > n && how !== 'from_then_on')) return undefined;
    failed ||= `${operation} ${path.slice(dir.path.length)}`;
    if (operation === 'write' && how === 'half_written') return 37;
    throw diskFull();
  };
  setFaultPoint(point);
  try {
    await live(dir.path, told);
  } catch (error) {
    expect(error, `operation ${n}: ${failed}`).toBeInstanceOf(AuditError);
    expect((error as AuditError).code, `operation ${n}: ${failed}`).not.toBe('AUD_INTERNAL');
  }
  if (count < n) return false;
  await recoverAndCheck(dir.path, told, `operation ${n} (${how}): ${failed}`);
  return true;
}

describe('when the n-th file operation fails, for every n', () => {
  for (const how of ['once', 'from_then_on', 'half_written'] as const) {
    test(`${how}: the ledger starts again, holds what it told, and verifies`, { timeout: 900_000 }, async () => {
      const operations = await listOperations();
      expect(operations.length).toBeGreaterThan(100);
      // Only a write can be done by half; the others are in the first test.
      const of = (n: number) => how !== 'half_written' || (operations[n - 1] ?? 'write') === 'write';
      for (let n = 1, more = true; more; n++) more = !of(n) || (await failAt(n, how));
    });
  }
});
