import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
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

  /** The complete lines of a file in the run directory; none when it is not there. */
  lines(...parts: string[]): string[] {
    const path = this.path(...parts);
    if (!existsSync(path)) return [];
    const text = readFileSync(path, 'utf8');
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
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
