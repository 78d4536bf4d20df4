// How fast verify is, and what the tree costs beside the writer.
import { mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { listSegments } from '../src/ledger/layout.ts';
import { openLedger } from '../src/ledger/ledger.ts';
import { TreeFollower } from '../src/ledger/tree-follower.ts';
import { verifyLedger } from '../src/ledger/verify/verify.ts';
import { openTrail, publicKey } from '../test/ledger/harness.ts';
import { median, touchMemory } from './lib/measure.ts';
import { saveResult } from './lib/report.ts';

/** Bytes of `after` that make a record about 500 bytes long. */
const PADDING = 150;

interface Run {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
}

async function timed(work: () => Promise<unknown>): Promise<Run> {
  const cpu = process.cpuUsage();
  const started = performance.now();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { wallSeconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 };
}

export async function runVerify(options: { readonly rounds: number; readonly records: number }): Promise<void> {
  const { records, rounds } = options;
  const data = mkdtempSync(join(tmpdir(), 'changetrail-bench-'));
  try {
    const trail = await openTrail(data);
    await trail.append(records, PADDING);
    await trail.close();
    const segments = join(data, 'ledger/segments');
    const bytes = listSegments(segments).reduce((sum, { path }) => sum + statSync(path).size, 0);
    const keys = [publicKey(data)];
    const verify = (threads: number) =>
      timed(async () => {
        const { verdict } = await verifyLedger({ directory: data, keys, threads });
        if (verdict !== 'verified') throw new RangeError(`the ledger of the bench is ${verdict}`);
      });
    const runs: Record<string, Run[]> = { one: [], all: [], tree: [] };
    for (let round = 0; round < rounds; round++) {
      runs['one']!.push(await verify(0));
      runs['all']!.push(await verify(availableParallelism()));
      runs['tree']!.push(await rebuild(data));
    }
    const row = (name: string, list: readonly Run[]) => {
      const wall = median(list.map(({ wallSeconds }) => wallSeconds));
      const cpu = median(list.map(({ cpuSeconds }) => cpuSeconds));
      const rate = (seconds: number) => Math.round(records / seconds).toLocaleString('en-US');
      return [name, rate(wall), rate(cpu), ((cpu / records) * 1e6).toFixed(2)];
    };
    saveResult({
      workload: 'verify',
      about: `${records.toLocaleString('en-US')} records of ${Math.round(bytes / records)} bytes in ${listSegments(segments).length} segments: verified with one thread and with one a core, and the tree made anew from the segments as the thread beside the writer does it (tiles written, not synced).`,
      budget: 'verify ≥ 400,000 records/s a core',
      columns: ['what', 'records/s', 'records a CPU second', 'µs CPU a record'],
      rows: [
        row('verify, one thread', runs['one']!),
        row(`verify, ${availableParallelism()} threads`, runs['all']!),
        row('tree: hash, tiles, bundles', runs['tree']!),
      ],
      limit: 'SHA-256 of the lines, then of the tree (ADR 8).',
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

/** The old tiles are put aside, not removed: see lib/drain.ts. */
async function rebuild(data: string): Promise<Run> {
  touchMemory(data);
  renameSync(join(data, 'ledger/tile'), mkdtempSync(join(data, 'old-')));
  const ledger = openLedger(data);
  const { layout, writer } = ledger;
  const start = { ledger: layout.ledger, segments: layout.segments, synced: 0, signed: null, end: writer.durable };
  const run = await timed(async () => TreeFollower.open(start));
  await ledger.close();
  return run;
}
