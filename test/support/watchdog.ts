// Runs beside the process that starts database servers and holds its end of a pipe. When the pipe closes, that process is gone
// (ended, crashed or killed): what it started is ended and what it wrote is removed.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, killQuietly } from './server-process.ts';

const directory = process.argv[2] as string;

process.stdin.on('error', () => {});
process.stdin.on('close', () => void cleanUp());
process.stdin.resume();

async function cleanUp(): Promise<void> {
  const pids = readdirSync(join(directory, 'pids')).map(Number);
  for (const pid of pids) {
    try {
      process.kill(pid, readFileSync(join(directory, 'pids', String(pid)), 'utf8') as NodeJS.Signals);
    } catch {
      // It ended by itself.
    }
  }
  for (let waited = 0; waited < 5_000 && pids.some(isAlive); waited += 50) await sleep(50);
  for (const pid of pids) killQuietly(pid);
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
