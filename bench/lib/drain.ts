// One run of a consumer over a backlog: what it used, and the proof that every change came through.
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Measured, measure } from './measure.ts';

export interface Drain {
  readonly name: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Changes in the backlog. */
  readonly changes: number;
  /** Whether it writes records that can be counted. */
  readonly writes: boolean;
}

/** Runs in a directory of its own, which is removed afterwards and not on the consumer's time. */
export async function drainBacklog({ name, command, environment, changes, writes }: Drain): Promise<Measured> {
  const directory = mkdtempSync(join(tmpdir(), 'changetrail-drain-'));
  const out = join(directory, 'out.ndjson');
  const log = join(directory, 'log');
  let kept = false;
  try {
    const env = { ...environment, EXPECTED: String(changes), OUT: out, BENCH_DATA: directory };
    const run = await measure(command, env, log);
    kept = run.exitCode !== 0;
    if (kept) throw new Error(`${name} ended with ${run.exitCode}; see ${log}`);
    if (writes) await requireChanges(out, changes, name);
    return run;
  } finally {
    if (!kept) rmSync(directory, { recursive: true, force: true });
  }
}

/** A fast wrong answer is worth nothing: every change must be there. */
async function requireChanges(file: string, expected: number, name: string): Promise<void> {
  let count = 0;
  for await (const line of createInterface({ input: createReadStream(file) })) {
    if (!/"kind":"(capture|schema|head)"/.test(line.slice(0, 300))) count++;
  }
  if (count !== expected) throw new Error(`${name} wrote ${count} of ${expected} changes`);
}
