import { type Document, MongoClient, MongoServerSelectionError } from 'mongodb';
import { AuditError } from '../../src/errors/audit-error.ts';
import { type ClusterTime, timeText } from './cluster-time.ts';
import { mongoError, SERVER_CODE, serverCode, standaloneError } from './errors.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** The stream, the join with the oplog, the users, and one for checks. */
const POOL = 4;
const OLDEST_MAJOR = 6;

/** What a deployment says of itself. */
export interface Deployment {
  readonly version: string;
  readonly setName: string | null;
  /** Made once when the set was initiated; null when the user may not read it. */
  readonly replicaSetId: string | null;
  readonly sharded: boolean;
  /** The newest cluster time the server knows. */
  readonly now: ClusterTime;
  /** False when the server lets anybody in: then no write has a user. */
  readonly authentication: boolean;
  /** Large events can be delivered in pieces (6.0.9, 7.0 and later). */
  readonly splitsLargeEvents: boolean;
}

/** @throws AUD_MONGO_URL */
export function createClient(url: string, name: string): MongoClient {
  try {
    return new MongoClient(url, {
      appName: `changetrail ${name}`.slice(0, 120),
      serverSelectionTimeoutMS: CONNECT_TIMEOUT_MS,
      connectTimeoutMS: CONNECT_TIMEOUT_MS,
      maxPoolSize: POOL,
      retryReads: true,
    });
  } catch (cause) {
    throw new AuditError('AUD_MONGO_URL', {
      message: `The url of source ${name} is no MongoDB connection string.`,
      action: 'Give a URL of the form mongodb://user:password@host:27017/?replicaSet=rs0&authSource=admin.',
      cause,
    });
  }
}

/**
 * The url of one of several mongos. A cursor lives on the mongos that opened it, and the driver would send each command to
 * another one. `pick` is a number from 0 to below 1.
 */
export function oneRouterUrl(url: string, pick: number): string {
  if (url.startsWith('mongodb+srv://')) return `${url}${queryMark(url)}srvMaxHosts=1`;
  return url.replace(/^(mongodb:\/\/(?:[^@/]*@)?)([^/?]+)/, (_, before: string, hosts: string) => {
    const list = hosts.split(',');
    return `${before}${list[Math.floor(pick * list.length)]}`;
  });
}

/** What stands before a further parameter of a url. */
function queryMark(url: string): string {
  if (url.includes('?')) return '&';
  return /:\/\/[^/]*\//.test(url) ? '?' : '/?';
}

/** Connects and asks what is there. @throws AUD_MONGO_CONNECT, _AUTH, _STANDALONE, _VERSION */
export async function inspectDeployment(client: MongoClient, url: string, name: string): Promise<Deployment> {
  const admin = client.db('admin');
  try {
    const hello = await admin.command({ hello: 1 });
    const { version } = await admin.command({ buildInfo: 1 });
    const sharded = hello['msg'] === 'isdbgrid';
    if (!sharded && hello['setName'] === undefined) throw standaloneError(name);
    checkVersion(String(version), name);
    const status = await admin.command({ connectionStatus: 1 });
    const authentication = status['authInfo'].authenticatedUsers.length > 0;
    // Without a user everything is allowed or nothing is.
    const strangers =
      authentication || (await unlessForbidden(admin.command({ listDatabases: 1, nameOnly: true }))) !== null;
    if (!strangers) throw userMissing(name);
    return {
      version: String(version),
      setName: (hello['setName'] as string | undefined) ?? null,
      replicaSetId: sharded ? await clusterId(client) : await replicaSetId(client),
      sharded,
      now: operationTime(hello),
      authentication,
      splitsLargeEvents: splitsLargeEvents(String(version)),
    };
  } catch (error) {
    if (error instanceof MongoServerSelectionError && (await isStandalone(url))) throw standaloneError(name);
    throw mongoError(error, name);
  }
}

function operationTime(reply: Document): ClusterTime {
  const time = reply['operationTime'] ?? reply['$clusterTime']?.clusterTime;
  return { seconds: time.t, increment: time.i };
}

function userMissing(name: string): AuditError {
  return new AuditError('AUD_MONGO_AUTH', {
    message: `The server of source ${name} asks for a user, and the url has none.`,
    action: 'Give a URL of the form mongodb://user:password@host:27017/?replicaSet=rs0&authSource=admin.',
    retry: 'after_operator',
  });
}

function checkVersion(version: string, name: string): void {
  if (Number.parseInt(version, 10) >= OLDEST_MAJOR) return;
  throw new AuditError('AUD_MONGO_VERSION', {
    message: `The server of source ${name} is MongoDB ${version}; change streams with images need 6.0.`,
    action: 'Use MongoDB 6.0 or later.',
    retry: 'after_operator',
  });
}

/** https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/ */
export function splitsLargeEvents(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  return major > 6 || (major === 6 && (minor > 0 || patch >= 9));
}

async function replicaSetId(client: MongoClient): Promise<string | null> {
  const reply = await unlessForbidden(client.db('admin').command({ replSetGetConfig: 1 }));
  return reply === null ? null : String(reply['config'].settings?.replicaSetId ?? '') || null;
}

async function clusterId(client: MongoClient): Promise<string | null> {
  const found = await unlessForbidden(client.db('config').collection('version').findOne({}));
  return found === null ? null : String(found['clusterId'] ?? '') || null;
}

/** The answer, or null when the user may not ask or the server does not know the command. */
export async function unlessForbidden<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    const code = serverCode(error);
    if (code === SERVER_CODE.UNAUTHORIZED || code === SERVER_CODE.COMMAND_NOT_FOUND) return null;
    throw error;
  }
}

/** A url with `replicaSet` leaves a standalone server out silently; asked directly it says what it is. */
async function isStandalone(url: string): Promise<boolean> {
  const direct = url
    .replace(/^(mongodb:\/\/(?:[^@/]*@)?[^,/?]+)[^/?]*/, '$1')
    .replace(/([?&])replicaSet=[^&]*&?/i, '$1')
    .replace(/[?&]$/, '');
  if (!direct.startsWith('mongodb://')) return false;
  const client = new MongoClient(`${direct}${queryMark(direct)}directConnection=true`, {
    serverSelectionTimeoutMS: 2_000,
  });
  try {
    const hello = await client.db('admin').command({ hello: 1 });
    return hello['setName'] === undefined && hello['msg'] !== 'isdbgrid';
  } catch {
    // It stays what it was: no connection.
    return false;
  } finally {
    await client.close();
  }
}

/** For logs and records. */
export function describeDeployment(deployment: Deployment): Record<string, unknown> {
  return {
    version: deployment.version,
    replica_set: deployment.setName,
    sharded: deployment.sharded,
    now: timeText(deployment.now),
    authentication: deployment.authentication,
  };
}
