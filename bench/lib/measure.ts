import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface Measured {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakRssMiB: number;
  readonly exitCode: number | null;
}

const POLL_MS = 20;
/** Clock ticks a second in /proc on every Linux of today. */
const TICKS = 100;

/** Runs a command to its end and says what it used: processor and memory of the process itself, from /proc. */
export function measure(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  logFile: string,
  limitMs = 300_000,
): Promise<Measured> {
  const log = openSync(logFile, 'w');
  const started = performance.now();
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
  let cpuSeconds = 0;
  let peakRssMiB = 0;
  const look = () => {
    const usage = processUsage(child.pid!);
    if (usage === null) return;
    cpuSeconds = Math.max(cpuSeconds, usage.cpuSeconds);
    peakRssMiB = Math.max(peakRssMiB, usage.peakRssMiB);
  };
  const poll = setInterval(look, POLL_MS);
  const limit = setTimeout(() => child.kill('SIGKILL'), limitMs);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (exitCode) => {
      clearInterval(poll);
      clearTimeout(limit);
      resolve({ wallSeconds: (performance.now() - started) / 1000, cpuSeconds, peakRssMiB, exitCode });
    });
  });
}

/** What a running process has used so far, or null when it is gone or this is not Linux. */
export function processUsage(pid: number): { cpuSeconds: number; peakRssMiB: number } | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS, peakRssMiB: Number(peak?.[1] ?? 0) / 1024 };
  } catch {
    return null;
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** More than a run writes and needs. */
const TOUCHED_BYTES = 900 << 20;

/**
 * Writes a file and removes it, so that the pages that a run will need are ones that this machine had a moment ago. A virtual
 * machine gives pages that rest back to its host, and the first touch of each then costs several times what writing it does.
 */
export function touchMemory(directory: string): void {
  const path = join(directory, 'touched');
  const piece = Buffer.alloc(1 << 20, 1);
  const file = openSync(path, 'w');
  for (let bytes = 0; bytes < TOUCHED_BYTES; bytes += piece.length) writeSync(file, piece);
  closeSync(file);
  rmSync(path);
}
