// Fails the n-th file operation, for every n, in the life of a ledger; then starts again and verifies.
import { afterEach, describe, expect, test } from 'vitest';
import { AuditError } from '../../src/errors/audit-error.ts';
import { Keyring } from '../../src/keys/keyring.ts';
import { type FaultPoint, type FileOperation, setFaultPoint } from '../../src/ledger/file-ops.ts';
import { openTrail, publicKey, type TestTrail, verify } from '../ledger/harness.ts';
import { temporaryDirectory } from '../support/tmp.ts';

afterEach(() => setFaultPoint(null));

/** What the outside has been told: it must still be true after any failure. */
interface Told {
  /** Records reported durable. */
  durable: number;
  readonly heads: string[];
}

const OPTIONS = {
  ledger: { segmentBytes: 60_000 },
  integrity: { compress: 'zstd', origin: 'test/faults' },
} as const;

/** First run, appends over several segments, heads, key rotation, compression, end; then a second run. */
async function live(data: string, told: Told): Promise<void> {
  for (let run = 0; run < 2; run++) {
    const trail = await openTrail(data, OPTIONS);
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
  await append(150);
  await append(120);
  await trail.integrity.finish();
  if (run === 0) new Keyring(trail.ledger.layout.keys).add('test/faults', Date.now());
  await append(10);
  await trail.integrity.finish();
  if (run === 1) await trail.integrity.maintain();
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
  await using dir = await temporaryDirectory();
  const operations: FileOperation[] = [];
  setFaultPoint((operation) => {
    operations.push(operation);
    return undefined;
  });
  await live(dir.path, { durable: 0, heads: [] });
  setFaultPoint(null);
  return operations;
}

function diskFull(): Error {
  return Object.assign(new RangeError('ENOSPC: no space left on device'), { code: 'ENOSPC' });
}

/** Runs the life with the n-th operation failing in the given way. */
async function failAt(n: number, how: 'once' | 'from_then_on' | 'half_written'): Promise<void> {
  await using dir = await temporaryDirectory();
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
  await recoverAndCheck(dir.path, told, `operation ${n} (${how}): ${failed}`);
}

describe('when the n-th file operation fails, for every n', () => {
  for (const how of ['once', 'from_then_on', 'half_written'] as const) {
    test(`${how}: the ledger starts again, holds what it told, and verifies`, { timeout: 900_000 }, async () => {
      const operations = await listOperations();
      expect(operations.length).toBeGreaterThan(100);
      for (const [i, operation] of operations.entries()) {
        // Only a write can be done by half; the others are in the first test.
        if (how !== 'half_written' || operation === 'write') await failAt(i + 1, how);
      }
    });
  }
});
