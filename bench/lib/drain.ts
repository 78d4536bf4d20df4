// One run of a consumer over a backlog: what it used, and the proof that every change came through.
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Measured, measure, touchMemory } from './measure.ts';

export interface Drain {
  readonly name: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Changes in the backlog. */
  readonly changes: number;
  /** Whether it writes records that can be counted. */
  readonly writes: boolean;
  /** Other changes follow behind the backlog: the group that ends it may hold some of them. */
  readonly goesOn?: boolean;
}

/**
 * Runs `work` with a function that drains a backlog once, each time into a directory of its own. All of them are removed at
 * the end and not between the runs: for minutes ext4 looks at every inode that was just freed before it makes a file, which
 * costs the next run ten times what its tiles cost a user.
 */
export async function withDrains<T>(work: (drain: (run: Drain) => Promise<Measured>) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'changetrail-drain-'));
  try {
    return await work((run) => drainOnce(run, mkdtempSync(join(directory, 'run-'))));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function drainOnce(run: Drain, directory: string): Promise<Measured> {
  const { name, command, environment, changes, writes, goesOn = false } = run;
  const out = join(directory, 'out.ndjson');
  const log = join(directory, 'log');
  const env = { ...environment, EXPECTED: String(changes), OUT: out, BENCH_DATA: directory };
  touchMemory(directory);
  const measured = await measure(command, env, log);
  if (measured.exitCode !== 0) {
    throw new Error(`${name} ended with ${measured.exitCode}:\n${readFileSync(log, 'utf8').slice(-2000)}`);
  }
  if (writes) await requireChanges(out, changes, name, goesOn);
  return measured;
}

/** A fast wrong answer is worth nothing: every change must be there. */
async function requireChanges(file: string, expected: number, name: string, orMore: boolean): Promise<void> {
  let count = 0;
  for await (const line of createInterface({ input: createReadStream(file) })) {
    if (!/"kind":"(capture|schema|head)"/.test(line.slice(0, 300))) count++;
  }
  if (orMore ? count < expected : count !== expected) throw new Error(`${name} wrote ${count} of ${expected} changes`);
}
