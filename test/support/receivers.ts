import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { cachePath } from './cache.ts';
import { firstThatWorks, maySkipReceivers, NotHere, noteSkipped, UnavailableError } from './chain.ts';
import { freePort } from './ports.ts';
import { guard, scratchDirectory, unguard } from './scratch.ts';
import { isAlive } from './server-process.ts';
import { until } from './wait.ts';

/** The receivers there is a start script for, with the program's usual name where an installed one will do. */
const PROGRAMS = {
  kafka: null,
  kfake: null,
  nats: 'nats-server',
  opensearch: null,
  otelcol: 'otelcol-contrib',
  pgbouncer: 'pgbouncer',
  rsyslog: 'rsyslogd',
  s3: 'versitygw',
  victorialogs: 'victoria-logs',
} as const;

export type ReceiverName = keyof typeof PROGRAMS;

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
  readonly #name: ReceiverName;
  readonly #options: ReceiverOptions;
  #pid = 0;

  private constructor(name: ReceiverName, port: number, options: ReceiverOptions) {
    this.#name = name;
    this.#options = options;
    this.port = port;
    this.run = scratchDirectory();
  }

  /** Starts `start-<name>.sh`. @throws UnavailableError with everything that was tried to come to its program. */
  static async start(name: ReceiverName, options: ReceiverOptions = {}, port?: number): Promise<Receiver> {
    const receiver = new Receiver(name, port ?? (await freePort()), options);
    await receiver.begin();
    return receiver;
  }

  /** Starts it again after `end`. */
  async begin(): Promise<void> {
    const program = await programOf(this.#name);
    const said = await runScript(this.#name, [String(this.port), ...(this.#options.args ?? [])], {
      RECEIVERS_RUN: this.run,
      ...(program === null ? {} : { RECEIVER_PROGRAM: program }),
      ...this.#options.env,
    });
    this.#pid = Number(said);
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

const programs = new Map<ReceiverName, Promise<string | null>>();

/** The program that a receiver's script is to start; null: the one it built. Looked for once a process. */
function programOf(name: ReceiverName): Promise<string | null> {
  let found = programs.get(name);
  if (found === undefined) {
    found = findProgram(name);
    programs.set(name, found);
    found.catch(() => programs.delete(name));
  }
  return found;
}

function findProgram(name: ReceiverName): Promise<string | null> {
  const variable = `CHANGETRAIL_TEST_RECEIVER_${name.toUpperCase()}`;
  return firstThatWorks<string | null>(
    `receiver ${name}`,
    [
      { name: variable, decisive: true, open: async () => ofEnvironment(variable) },
      { name: 'an installed program', open: async () => onPath(PROGRAMS[name]) },
      { name: `start-${name}.sh, which builds it from packages`, open: () => build(name) },
    ],
    'Set CHANGETRAIL_SKIP_MISSING_RECEIVERS=1 to skip what needs it (it is counted), or make one of these work.',
  );
}

function ofEnvironment(variable: string): string {
  const path = process.env[variable];
  if (!path) throw new NotHere('not set');
  if (!existsSync(path)) throw new Error(`there is no ${path}`);
  return path;
}

function onPath(program: string | null): string {
  if (program === null) throw new NotHere('no program of that kind is known');
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = folders.map((folder) => join(folder, program)).find(isExecutable);
  if (found === undefined) throw new NotHere(`no ${program} on PATH`);
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function build(name: ReceiverName): Promise<null> {
  await runScript(name, [], { RECEIVERS_BUILD_ONLY: '1', RECEIVERS_RUN: scratchDirectory() });
  return null;
}

/**
 * For `describe.skipIf`: whether to skip what needs that receiver. Only ever true with `CHANGETRAIL_SKIP_MISSING_RECEIVERS=1` and after
 * every way was tried; it is counted then. Without the flag a missing receiver fails the test that needs it.
 */
export async function receiverMissing(name: ReceiverName): Promise<boolean> {
  if (!maySkipReceivers()) return false;
  try {
    await programOf(name);
    return false;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    noteSkipped(`receiver ${name}`);
    return true;
  }
}

/** Runs a start script; what it prints. The first run of all builds the program: that may take minutes. */
function runScript(name: ReceiverName, args: readonly string[], env: Record<string, string>): Promise<string> {
  const script = fileURLToPath(new URL(`./receivers/start-${name}.sh`, import.meta.url));
  const cache = process.env['RECEIVERS_CACHE'] ?? cachePath('receivers');
  return new Promise((resolve, reject) => {
    const child = spawn(script, args, {
      env: { ...process.env, RECEIVERS_CACHE: cache, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
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
      if (code === 0) resolve(out.trim());
      else reject(new Error(`${script} ended with ${code}:\n${said}`));
    });
  });
}
