import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { PostgresMajor } from './npm-binaries.ts';
import { until } from './wait.ts';

/** How a server is stopped: `fast` is an orderly shutdown, `immediate` one that needs crash recovery. */
export type StopMode = 'fast' | 'immediate';

/** The life of a server that this process may stop and start. Its port stays the same. */
export interface ServerControl {
  readonly dataDir?: string | undefined;
  running(): boolean;
  start(): Promise<void>;
  /** A fast stop waits for replication clients to confirm what they were sent. */
  stop(mode: StopMode): Promise<void>;
  /** Ends every process of the server at once, as a power cut would. */
  kill9(): Promise<void>;
  /** Stops it for good and removes what it wrote. */
  remove(): Promise<void>;
}

export interface ServerDescription {
  readonly major: PostgresMajor;
  readonly provider: 'env' | 'local' | 'npm' | 'container';
  /** A superuser's URL; its database is the one for administration. */
  readonly adminUrl: string;
  /** Undefined for a server that somebody else runs. */
  readonly control?: ServerControl | undefined;
  /** Whether others in this process use it too: then nobody may stop it. */
  readonly shared: boolean;
}

/** One test's own database. Dropping it also drops its slots, rolls back its prepared transactions and closes its connections. */
export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** A superuser's URL of this database. */
  readonly url: string;
  query(sql: string, params?: readonly unknown[]): Promise<pg.QueryResult>;
  drop(): Promise<void>;
}

/** A real PostgreSQL server for tests, the demo and the bench. */
export class PostgresServer implements AsyncDisposable {
  readonly major: PostgresMajor;
  readonly provider: ServerDescription['provider'];
  /** The server's own word: `18.4`. */
  readonly version: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string | undefined;
  readonly #adminUrl: URL;
  readonly #control: ServerControl | undefined;
  readonly #shared: boolean;

  private constructor(description: ServerDescription, version: string) {
    this.major = description.major;
    this.provider = description.provider;
    this.version = version;
    this.#adminUrl = new URL(description.adminUrl);
    this.#control = description.control;
    this.#shared = description.shared;
    this.host = this.#adminUrl.hostname;
    this.port = Number(this.#adminUrl.port || 5432);
    this.user = decodeURIComponent(this.#adminUrl.username);
    this.password = this.#adminUrl.password ? decodeURIComponent(this.#adminUrl.password) : undefined;
  }

  /** Connects once and sees that the server is what the tests need. @throws Error that says what it lacks. */
  static async connect(description: ServerDescription): Promise<PostgresServer> {
    const { rows } = await queryUrl(
      description.adminUrl,
      `select current_setting('server_version_num')::int / 10000 as major, current_setting('server_version') as version,
              current_setting('wal_level') as wal_level, usesuper from pg_user where usename = current_user`,
    );
    const { major, wal_level, usesuper } = rows[0];
    const version = String(rows[0].version).split(' ')[0] as string;
    if (major !== description.major) throw new Error(`it is PostgreSQL ${version}, not ${description.major}`);
    if (!usesuper) throw new Error('the user is not a superuser');
    if (wal_level !== 'logical' && description.provider === 'env') throw new Error('its wal_level is not logical');
    return new PostgresServer(description, version);
  }

  /** Where it keeps its files, when they are on this machine. */
  get dataDir(): string | undefined {
    return this.#control?.dataDir;
  }

  /** A superuser's URL of that database (default: the one for administration). */
  url(database?: string): string {
    const url = new URL(this.#adminUrl);
    if (database !== undefined) url.pathname = `/${encodeURIComponent(database)}`;
    return url.href;
  }

  /** Runs one statement (or several without parameters) as superuser on a connection of its own. */
  query(sql: string, params?: readonly unknown[], database?: string): Promise<pg.QueryResult> {
    return queryUrl(this.url(database), sql, params);
  }

  /** Creates an empty database; the name is made up unless given. */
  async createDatabase(name = `t_${randomBytes(6).toString('hex')}`): Promise<TestDatabase> {
    await this.query(`create database ${pg.escapeIdentifier(name)}`);
    const drop = () => this.#dropDatabase(name);
    return {
      name,
      url: this.url(name),
      query: (sql, params) => this.query(sql, params, name),
      drop,
      [Symbol.asyncDispose]: drop,
    };
  }

  async stop(mode: StopMode): Promise<void> {
    return this.#own().stop(mode);
  }

  /** Starts it again after `stop` or `kill9`, on the same port with the same data; ready when it resolves. */
  async start(): Promise<void> {
    return this.#own().start();
  }

  async kill9(): Promise<void> {
    return this.#own().kill9();
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Ends a server of one's own and removes its data; a shared one goes on until the process ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#shared) await this.#control?.remove();
  }

  #own(): ServerControl {
    if (this.#shared || !this.#control) {
      const why = this.#control ? 'it is shared' : 'it was named in the environment';
      throw new Error(`this server must not be stopped: ${why}. Ask for one with { fresh: true }.`);
    }
    return this.#control;
  }

  async #dropDatabase(name: string): Promise<void> {
    // A server of one's own that was killed takes its databases with it.
    if (this.#control && !this.#control.running()) return;
    const { rows } = await this.query('select gid from pg_prepared_xacts where database = $1', [name]);
    for (const { gid } of rows) await this.query(`rollback prepared ${pg.escapeLiteral(gid)}`, [], name);
    await this.#dropSlots(name);
    await this.query(`drop database if exists ${pg.escapeIdentifier(name)} with (force)`);
  }

  async #dropSlots(name: string): Promise<void> {
    const dropAll = async () => {
      const slots = 'select slot_name, active_pid from pg_replication_slots where database = $1';
      const { rows } = await this.query(slots, [name]);
      for (const { slot_name: slot, active_pid: pid } of rows) {
        if (pid) await this.query('select pg_terminate_backend($1, 5000)', [pid]);
        await this.query('select pg_drop_replication_slot($1)', [slot]);
      }
      return true;
    };
    // A client may come back in between, or take its slot away by itself: the next round sees it.
    await until(dropAll, { what: `the slots of database ${name} to be dropped` });
  }
}

/** Runs SQL on a connection of its own. */
export async function queryUrl(url: string, sql: string, params?: readonly unknown[]): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  // The server may be stopped at any moment: a query under way rejects by itself, an idle connection must not throw.
  client.on('error', () => {});
  try {
    await client.connect();
    return await client.query(sql, params && params.length > 0 ? [...params] : undefined);
  } finally {
    await client.end().catch(() => {});
  }
}
