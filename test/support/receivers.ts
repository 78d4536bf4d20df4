import { spawn } from 'node:child_process';
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { cachePath } from './cache.ts';
import { freePort } from './ports.ts';
import { guard, scratchDirectory, unguard } from './scratch.ts';
import { isAlive } from './server-process.ts';
import { until } from './wait.ts';

export interface ReceiverOptions {
  /** Arguments behind the port. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A real receiver as a child process, started by a script of `receivers/`; its data stay over a restart. */
export class Receiver implements AsyncDisposable {
  readonly port: number;
  /** Holds the receiver's data, its log and `pki/` with a throwaway CA. */
  readonly run: string;
  readonly #script: string;
  readonly #options: ReceiverOptions;
  #pid = 0;

  private constructor(script: string, port: number, options: ReceiverOptions) {
    this.#script = script;
    this.#options = options;
    this.port = port;
    this.run = scratchDirectory();
  }

  /** Builds the program, once, and starts it. `name` as in `start-<name>.sh`. */
  static async start(name: string, options: ReceiverOptions = {}, port?: number): Promise<Receiver> {
    const script = fileURLToPath(new URL(`./receivers/start-${name}.sh`, import.meta.url));
    const receiver = new Receiver(script, port ?? (await freePort()), options);
    await receiver.begin();
    return receiver;
  }

  /** Starts it again after `end`. */
  async begin(): Promise<void> {
    this.#pid = await launch(this.#script, [String(this.port), ...(this.#options.args ?? [])], {
      RECEIVERS_CACHE: process.env['RECEIVERS_CACHE'] ?? cachePath('receivers'),
      RECEIVERS_RUN: this.run,
      ...this.#options.env,
    });
    guard(this.#pid, 'SIGKILL');
  }

  /** Ends it and waits for that. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const pid = this.#pid;
    if (pid === 0) return;
    this.#pid = 0;
    if (isAlive(pid)) process.kill(pid, signal);
    await until(() => !isAlive(pid), { what: 'the receiver to end', timeoutMs: 60_000 });
    unguard(pid);
  }

  async restart(whileDown: () => Promise<void> = async () => {}, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.end(signal);
    await whileDown();
    await this.begin();
  }

  /** A path in the run directory. */
  path(...parts: string[]): string {
    return join(this.run, ...parts);
  }

  /** A reader of a file in the run directory that grows line by line. */
  tail<T>(parse: (line: string) => T, ...parts: string[]): Tail<T> {
    return new Tail(this.path(...parts), parse);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}

/** The complete lines of a growing file, each read and parsed once. */
export class Tail<T> {
  readonly #path: string;
  readonly #parse: (line: string) => T;
  readonly #entries: T[] = [];
  #offset = 0;

  constructor(path: string, parse: (line: string) => T) {
    this.#path = path;
    this.#parse = parse;
  }

  /** All entries so far; none while there is no file. */
  entries(): readonly T[] {
    if (!existsSync(this.#path)) return this.#entries;
    const fd = openSync(this.#path, 'r');
    try {
      const bytes = Buffer.allocUnsafe(fstatSync(fd).size - this.#offset);
      const read = bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, this.#offset));
      const end = read.lastIndexOf('\n') + 1;
      const lines = end === 0 ? [] : read.toString('utf8', 0, end - 1).split('\n');
      for (const line of lines) this.#entries.push(this.#parse(line));
      this.#offset += end;
    } finally {
      closeSync(fd);
    }
    return this.#entries;
  }
}

/** Runs a start script; the pid it prints. The first run of all builds the program: that may take minutes. */
function launch(script: string, args: readonly string[], env: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(script, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => {
      out += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-4000);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      const pid = Number(out.trim());
      if (code === 0 && pid > 0) resolve(pid);
      else reject(new Error(`${script} ended with ${code}:\n${said}`));
    });
  });
}
