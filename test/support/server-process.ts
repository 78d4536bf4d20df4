import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { lastLines, type ServerUser } from './commands.ts';
import { guard, unguard } from './scratch.ts';
import { until } from './wait.ts';

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  /** Where its output goes. A file, not a pipe: nobody has to read it. */
  readonly log: string;
  readonly cwd: string;
  readonly user?: ServerUser | undefined;
  /** What ends it at once, with its children, when this process is gone. */
  readonly guardSignal: NodeJS.Signals;
}

/** One run of a database server as a child process; guarded by the watchdog and in a process group of its own. */
export class ServerProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #launch: Launch;
  readonly #ended: Promise<void>;
  #how: string | undefined;

  private constructor(child: ChildProcess, pid: number, launch: Launch) {
    this.#child = child;
    this.pid = pid;
    this.#launch = launch;
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#how = signal ?? `exit code ${code}`;
        unguard(pid);
        resolve();
      });
    });
    guard(pid, launch.guardSignal);
    child.unref();
  }

  /** @throws Error when the program cannot be run at all. */
  static async start(launch: Launch): Promise<ServerProcess> {
    const log = openSync(launch.log, 'a');
    try {
      const child = spawn(launch.command, launch.args, {
        stdio: ['ignore', log, log],
        cwd: launch.cwd,
        detached: true,
        env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
        ...(launch.user ? { uid: launch.user.uid, gid: launch.user.gid } : {}),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('error', reject);
        child.once('spawn', resolve);
      });
      return new ServerProcess(child, child.pid as number, launch);
    } finally {
      closeSync(log);
    }
  }

  get running(): boolean {
    return this.#how === undefined;
  }

  /** The end of its log. */
  logTail(): string {
    return lastLines(readFileSync(this.#launch.log, 'utf8'));
  }

  /** Waits until `isReady`. @throws Error with the end of its log when it ends before, or after `timeoutMs`. */
  async ready(isReady: () => boolean | Promise<boolean>, timeoutMs: number): Promise<void> {
    const done = until(async () => !this.running || (await isReady()), { what: 'the server to be ready', timeoutMs });
    await done.catch((error: Error) => {
      throw new Error(`${error.message}; its log ends: ${this.logTail()}`, { cause: error });
    });
    if (!this.running) throw new Error(`the server ended at start (${this.#how}); its log ends: ${this.logTail()}`);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Sends the signal and waits for the end. @throws Error when it has not ended after `timeoutMs`. */
  async end(signal: NodeJS.Signals, timeoutMs = 60_000): Promise<void> {
    // Servers do not keep this process alive, but waiting for one does.
    this.#child.ref();
    this.signal(signal);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const said = `the server has not ended ${timeoutMs} ms after ${signal}`;
      timer = setTimeout(() => reject(new Error(`${said}; its log ends: ${this.logTail()}`)), timeoutMs);
    });
    try {
      await Promise.race([this.#ended, late]);
    } finally {
      clearTimeout(timer);
      this.#child.unref();
    }
  }
}

/** The processes that a process has started and that still run. */
export function childrenOf(pid: number): number[] {
  const list = `/proc/${pid}/task/${pid}/children`;
  if (existsSync(list)) return readFileSync(list, 'utf8').split(' ').filter(Boolean).map(Number);
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).split('\n');
  const pairs = lines.map((line) => line.trim().split(/\s+/).map(Number));
  return pairs.filter(([, parent]) => parent === pid).map(([child]) => child as number);
}

/** Whether a process runs. One that ended and was not yet collected by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const status = `/proc/${pid}/status`;
    return !existsSync(status) || !/^State:\s+[ZX]/m.test(readFileSync(status, 'utf8'));
  } catch {
    return false;
  }
}

/** SIGKILL; a process that ended in the meantime is no error. */
export function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
