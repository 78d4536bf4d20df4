import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { until } from '../../support/wait.ts';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface LaunchOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Put before the command line of Node, for example `['setpriv', '--reuid=65534', '--clear-groups']`. */
  readonly wrapper?: readonly string[];
  /** Keep what is written to standard output; else it is thrown away. */
  readonly stdout?: 'keep' | 'ignore';
  readonly cwd?: string;
  /** What Node runs; default: the command line of this checkout. */
  readonly main?: string;
}

/** One line of the log that `run` writes to standard error. */
export type LogEntry = Readonly<Record<string, unknown>> & { readonly event?: string; readonly msg?: string };

/** The real command line in a process of its own. */
export class TrailProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  #exit: Exit | null = null;
  #stderr = '';
  #stdout = '';

  private constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
  }

  /** Any command: `launch(['run', '--config', file])`. */
  static launch(args: readonly string[], options: LaunchOptions = {}): TrailProcess {
    const line = [
      ...(options.wrapper ?? []),
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      options.main ?? MAIN,
      ...args,
    ];
    const child = spawn(line[0]!, line.slice(1), {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdio: ['ignore', options.stdout === 'keep' ? 'pipe' : 'ignore', 'pipe'],
      env: { ...process.env, CHANGETRAIL_LOG_FORMAT: 'json', ...options.env },
    });
    return new TrailProcess(child);
  }

  get pid(): number {
    return this.child.pid!;
  }

  get exit(): Exit | null {
    return this.#exit;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** The log so far; lines that are not JSON (closing words) are left out. */
  get log(): LogEntry[] {
    const lines = this.#stderr.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    return lines.map((line) => JSON.parse(line) as LogEntry);
  }

  /** Waits for a log entry. @throws with the whole of standard error when the process ended or it did not come. */
  async logged(what: string, matches: (entry: LogEntry) => boolean, timeoutMs = 60_000): Promise<LogEntry> {
    const found = await until(() => this.log.find(matches) ?? (this.#exit === null ? undefined : 'ended'), {
      what: `the log entry: ${what}; standard error so far: ${this.#stderr.slice(-2000)}`,
      timeoutMs,
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.#stderr.slice(-4000)}`);
    });
    if (found === 'ended') {
      throw new Error(
        `ended (${JSON.stringify(this.#exit)}) before the log entry: ${what}\n${this.#stderr.slice(-4000)}`,
      );
    }
    return found;
  }

  /** Waits until it captures. */
  streaming(times = 1): Promise<LogEntry> {
    return this.logged(`streaming, ${times} times`, () => this.count('streaming') >= times);
  }

  count(event: string): number {
    return this.log.filter((entry) => entry.event === event).length;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill9(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<Exit> {
    this.child.kill('SIGTERM');
    return this.ended();
  }

  /** Waits for the end. @throws with standard error when it does not come. */
  async ended(timeoutMs = 60_000): Promise<Exit> {
    return until(() => this.#exit, { what: 'the process to end', timeoutMs }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.#stderr.slice(-4000)}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exit === null) await this.kill9();
  }
}

/** Runs a command to its end. */
export async function runCommandLine(args: readonly string[], options: LaunchOptions = {}): Promise<TrailProcess> {
  const started = TrailProcess.launch(args, { stdout: 'keep', ...options });
  await started.ended();
  return started;
}

export interface ConfigOptions {
  readonly url: string;
  readonly source?: Readonly<Record<string, unknown>>;
  readonly rest?: Readonly<Record<string, unknown>>;
}

/** Writes `changetrail.yaml` with one PostgreSQL source `shop`; the data directory is `data` beside it. */
export function writeConfig(directory: string, { url, source, rest }: ConfigOptions): string {
  const file = join(directory, 'changetrail.yaml');
  const shop = { type: 'postgres', url, setup: 'auto', check_interval: 1, ...source };
  writeFileSync(file, stringify({ data: './data', sources: { shop }, sinks: {}, ...rest }));
  return file;
}
