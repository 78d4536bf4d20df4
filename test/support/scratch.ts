import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/**
 * The directory that holds everything this process starts: data directories, sockets, logs and the list of server pids.
 * A watchdog process kills those servers and removes the directory as soon as this process is gone, however it went.
 */
interface Scratch {
  readonly path: string;
  readonly watchdog: ChildProcess;
}

let scratch: Scratch | undefined;
let made = 0;

/** An empty directory inside the scratch directory; short enough for a unix socket's path, passable for other users. */
export function scratchDirectory(): string {
  scratch ??= start();
  const path = join(scratch.path, String(++made));
  mkdirSync(path, { mode: 0o755 });
  return path;
}

/** Notes a server that must not outlive this process, and the signal that ends it at once. */
export function guard(pid: number, signal: NodeJS.Signals): void {
  scratch ??= start();
  writeFileSync(join(scratch.path, 'pids', String(pid)), signal);
}

/** Takes back `guard`: the process has ended and its pid may belong to another one soon. */
export function unguard(pid: number): void {
  if (scratch) rmSync(join(scratch.path, 'pids', String(pid)), { force: true });
}

function start(): Scratch {
  const path = mkdtempSync(join(tmpdir(), 'ct-'));
  chmodSync(path, 0o755);
  mkdirSync(join(path, 'pids'));
  const script = fileURLToPath(new URL('./watchdog.ts', import.meta.url));
  // Its own process group: a Ctrl-C in the terminal must reach the program, not the watchdog or the servers.
  const watchdog = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, path], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    env: { PATH: process.env['PATH'] },
  });
  watchdog.unref();
  (watchdog.stdin as unknown as Socket).unref();
  return { path, watchdog };
}
