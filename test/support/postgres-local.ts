import { appendFileSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { cachePath, withCacheLock } from './cache.ts';
import { runCommand, serverUser } from './commands.ts';
import { freePort } from './ports.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import type { ServerControl, StopMode } from './postgres-server.ts';
import { scratchDirectory } from './scratch.ts';
import { childrenOf, isAlive, killQuietly, ServerProcess } from './server-process.ts';
import { until } from './wait.ts';

/** The superuser's password on every server started here; asked for only with `auth: 'scram'`, and only on 127.0.0.1. */
export const SUPERUSER_PASSWORD = 'changetrail-test';

export interface LocalOptions {
  readonly auth: 'trust' | 'scram';
  readonly settings: Readonly<Record<string, string>>;
  /** PEM texts of the server's certificate and key: TLS is offered. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

/** What every server started for tests is set to; `LocalOptions.settings` come after and win. */
export const TEST_SETTINGS: Readonly<Record<string, string>> = {
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '60',
  max_prepared_transactions: '20',
  // Speed: a test's server never has to survive a power cut, only the death of its processes.
  fsync: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  listen_addresses: '127.0.0.1',
  // Files in the data directory, which is removed; not in /dev/shm, where a killed server would leave them.
  dynamic_shared_memory_type: 'mmap',
};

/** A server of binaries on this machine, with a data directory of its own. Not started yet. */
export class LocalPostgres implements ServerControl {
  readonly dataDir: string;
  readonly #home: string;
  readonly #bin: string;
  readonly #port: number;
  #process: ServerProcess | undefined;

  private constructor(home: string, bin: string, port: number) {
    this.#home = home;
    this.dataDir = join(home, 'data');
    this.#bin = bin;
    this.#port = port;
  }

  /** Makes a data directory and starts the server on a free port. The caller removes it. */
  static async launch(
    binaries: PostgresBinaries,
    options: LocalOptions,
  ): Promise<{ control: LocalPostgres; adminUrl: string }> {
    const template = await dataTemplate(binaries);
    for (let tries = 1; ; tries++) {
      const port = await freePort();
      const control = new LocalPostgres(scratchDirectory(), binaries.bin, port);
      try {
        await runCommand('cp', ['-Rp', template, control.dataDir]);
        control.#configure(options);
        await control.start();
        const password = options.auth === 'scram' ? `:${SUPERUSER_PASSWORD}` : '';
        return { control, adminUrl: `postgres://postgres${password}@127.0.0.1:${port}/postgres` };
      } catch (error) {
        await control.remove();
        // Somebody else took the port in between.
        if (tries === 5 || !/could not bind|already in use/i.test((error as Error).message)) throw error;
      }
    }
  }

  running(): boolean {
    return this.#process?.running ?? false;
  }

  async start(): Promise<void> {
    if (this.running()) return;
    const pidFile = join(this.dataDir, 'postmaster.pid');
    const server = await ServerProcess.start({
      command: join(this.#bin, 'postgres'),
      args: ['-D', this.dataDir],
      log: join(this.#home, 'log'),
      cwd: this.dataDir,
      user: serverUser(),
      guardSignal: 'SIGQUIT',
    });
    this.#process = server;
    // The server says in the last line of its pid file when it takes connections.
    await server.ready(() => {
      const lines = existsSync(pidFile) ? readFileSync(pidFile, 'utf8').split('\n') : [];
      return lines[0] === String(server.pid) && lines[7]?.trim() === 'ready';
    }, 120_000);
  }

  async stop(mode: StopMode): Promise<void> {
    await this.#process?.end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
  }

  async kill9(): Promise<void> {
    const server = this.#process;
    if (!server?.running) return;
    // Each backend is in a process group of its own; one that outlives its parent for a moment would keep a new server from starting.
    const backends = childrenOf(server.pid);
    const ended = server.end('SIGKILL');
    for (const pid of backends) killQuietly(pid);
    await ended;
    await until(() => !backends.some(isAlive), { what: 'the killed backends to be gone' });
  }

  async remove(): Promise<void> {
    await this.stop('immediate');
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }

  #configure({ auth, settings, tls }: LocalOptions): void {
    const own = { port: String(this.#port), unix_socket_directories: this.#socketDirectory() };
    if (tls) {
      this.#writeOwned('server.crt', tls.cert);
      this.#writeOwned('server.key', tls.key);
    }
    const lines = Object.entries({ ...TEST_SETTINGS, ...own, ...(tls ? { ssl: 'on' } : {}), ...settings });
    const text = lines.map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`).join('');
    appendFileSync(join(this.dataDir, 'postgresql.conf'), `\n${text}`);
    const method = auth === 'scram' ? 'scram-sha-256' : 'trust';
    const rules = ['local all', 'host all', 'local replication', 'host replication'];
    const hba = rules
      .map((rule) => `${rule} all ${rule.startsWith('host') ? '127.0.0.1/32 ' : ''}${method}\n`)
      .join('');
    writeFileSync(join(this.dataDir, 'pg_hba.conf'), hba);
  }

  #socketDirectory(): string {
    const path = join(this.#home, 's');
    mkdirSync(path);
    const user = serverUser();
    if (user) chownSync(path, user.uid, user.gid);
    return path;
  }

  #writeOwned(name: string, text: string): void {
    const path = join(this.dataDir, name);
    writeFileSync(path, text, { mode: 0o600 });
    const user = serverUser();
    if (user) chownSync(path, user.uid, user.gid);
  }
}

/** A data directory as initdb leaves it, made once per version and user; starting a server copies it. */
export async function dataTemplate(binaries: PostgresBinaries): Promise<string> {
  const user = serverUser();
  const owner = user?.uid ?? process.getuid?.() ?? 0;
  const name = `postgres-template-${binaries.provider}-${binaries.version}-${owner}`;
  const template = cachePath(name);
  if (!existsSync(template)) {
    await withCacheLock(name, async () => {
      if (!existsSync(template)) await makeTemplate(binaries.bin, template);
    });
  }
  return template;
}

async function makeTemplate(bin: string, template: string): Promise<void> {
  const home = scratchDirectory();
  const user = serverUser();
  const password = join(home, 'password');
  writeFileSync(password, SUPERUSER_PASSWORD);
  if (user) chownSync(home, user.uid, user.gid);
  const data = join(home, 'data');
  await runCommand(
    join(bin, 'initdb'),
    [
      '-D',
      data,
      '-U',
      'postgres',
      '--pwfile',
      password,
      '-A',
      'scram-sha-256',
      '-E',
      'UTF8',
      '--no-locale',
      '--no-sync',
    ],
    { user, cwd: '/', env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' } },
  );
  await runCommand('rm', ['-rf', `${template}.unfinished`]);
  await runCommand('cp', ['-Rp', data, `${template}.unfinished`]);
  await rename(`${template}.unfinished`, template);
  rmSync(home, { recursive: true, force: true });
}
