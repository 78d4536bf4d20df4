import { randomBytes } from 'node:crypto';
import { type Document, MongoClient } from 'mongodb';
import { until } from './wait.ts';

/** The life of a mongod that this process may stop and start. Its port stays the same. */
export interface MongoControl {
  running(): boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill9(): Promise<void>;
  /** Stops it for good and removes what it wrote. */
  remove(): Promise<void>;
}

export interface MongoDescription {
  readonly provider: 'env' | 'local' | 'pypi' | 'container';
  readonly url: string;
  readonly replicaSet: boolean;
  readonly control?: MongoControl | undefined;
  readonly shared: boolean;
}

/** One test's own database on a shared server. */
export interface MongoTestDatabase extends AsyncDisposable {
  readonly name: string;
  /** The server's URL with this database as the default one. */
  readonly url: string;
  drop(): Promise<void>;
}

/** A real mongod for tests, the demo and the bench; with `replicaSet`, the primary of a replica set of one. */
export class MongoServer implements AsyncDisposable {
  readonly provider: MongoDescription['provider'];
  /** A root user's URL where the server asks for one. */
  readonly url: string;
  /** The server's own word: `6.0.5`. */
  readonly version: string;
  readonly host: string;
  readonly port: number;
  readonly #description: MongoDescription;

  private constructor(description: MongoDescription, version: string) {
    const address = new URL(description.url.replace(/^mongodb(\+srv)?:/, 'http:').replace(/,[^/]*/, ''));
    this.provider = description.provider;
    this.url = description.url;
    this.version = version;
    this.host = address.hostname;
    this.port = Number(address.port || 27017);
    this.#description = description;
  }

  /** Connects and waits until it takes writes. @throws Error that says what it lacks. */
  static async connect(description: MongoDescription): Promise<MongoServer> {
    await writable(description);
    const { version } = await commandAt(description.url, { buildInfo: 1 });
    return new MongoServer(description, version);
  }

  /** A name for a test's own database, with its URL; nothing is created before something is written. */
  createDatabase(name = `t_${randomBytes(6).toString('hex')}`): MongoTestDatabase {
    const drop = async () => {
      if (this.#description.control && !this.#description.control.running()) return;
      await commandAt(this.url, { dropDatabase: 1 }, name);
    };
    return { name, url: withDatabase(this.url, name), drop, [Symbol.asyncDispose]: drop };
  }

  /** Runs a database command as root; on `admin` unless told. */
  command(command: Document, database = 'admin'): Promise<Document> {
    return commandAt(this.url, command, database);
  }

  async stop(): Promise<void> {
    return this.#own().stop();
  }

  /** Starts it again, on the same port with the same data; takes writes when it resolves. */
  async start(): Promise<void> {
    await this.#own().start();
    await writable(this.#description);
  }

  async kill9(): Promise<void> {
    return this.#own().kill9();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** The primary steps down and, being alone, is elected again in a new term: clients see an election. */
  async stepDown(): Promise<void> {
    this.#own();
    await this.command({ replSetStepDown: 60, secondaryCatchUpPeriodSecs: 0, force: true });
    // Without this it would wait out the 60 s before it stands for election.
    await commandAt(directUrl(this.url), { replSetFreeze: 0 });
    await writable(this.#description);
  }

  /** Ends a server of one's own and removes its data; a shared one goes on until the process ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#description.shared) await this.#description.control?.remove();
  }

  #own(): MongoControl {
    const { control, shared } = this.#description;
    if (shared || !control) {
      const why = control ? 'it is shared' : 'it was named in the environment';
      throw new Error(`this server must not be disturbed: ${why}. Ask for one with { fresh: true }.`);
    }
    return control;
  }
}

/** Runs one command on a connection of its own. */
export async function commandAt(url: string, command: Document, database = 'admin'): Promise<Document> {
  const client = new MongoClient(url, { serverSelectionTimeoutMS: 30_000 });
  try {
    return await client.db(database).command(command);
  } finally {
    await client.close();
  }
}

async function writable({ url, replicaSet }: MongoDescription): Promise<void> {
  const client = new MongoClient(url, { serverSelectionTimeoutMS: 30_000 });
  try {
    const hello = await until(
      async () => {
        const answer = await client.db('admin').command({ hello: 1 });
        return answer['isWritablePrimary'] && answer;
      },
      { what: 'mongod to take writes', timeoutMs: 60_000 },
    );
    if (replicaSet !== Boolean(hello['setName'])) {
      throw new Error(replicaSet ? 'it is not a replica set' : 'it is a replica set and a single server is needed');
    }
  } finally {
    await client.close();
  }
}

function withDatabase(url: string, database: string): string {
  const [base, parameters] = split(url);
  if (base.includes('@') && !parameters.has('authSource')) parameters.set('authSource', 'admin');
  return `${base}/${database}${parameters.size > 0 ? `?${parameters}` : ''}`;
}

/** The URL of this one server, whether it is primary or not. */
function directUrl(url: string): string {
  const [base, parameters] = split(url);
  parameters.delete('replicaSet');
  parameters.set('directConnection', 'true');
  return `${base}/?${parameters}`;
}

function split(url: string): [base: string, parameters: URLSearchParams] {
  const [address, query] = url.split('?');
  return [(address as string).replace(/^([a-z+]+:\/\/[^/]+).*$/, '$1'), new URLSearchParams(query)];
}
