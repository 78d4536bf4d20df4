// `doctor` for a MongoDB source: everything that could keep it from working, with the command that mends it.
import type { MongoClient } from 'mongodb';
import type { CheckItem, CheckReport } from '../../src/core/connector.ts';
import { type AuditError, messageOf } from '../../src/errors/audit-error.ts';
import { createClient, type Deployment, inspectDeployment } from './client.ts';
import {
  type CollectionInfo,
  capturedCollections,
  matchingDatabases,
  patternFix,
  withoutImages,
} from './collections.ts';
import { RawCursor } from './cursor.ts';
import { mongoError, SERVER_CODE, serverCode } from './errors.ts';
import { OplogJoin } from './oplog-join.ts';
import { streamPipeline } from './pipeline.ts';
import type { ResolvedMongodb } from './resolved.ts';
import { freshStart } from './resume.ts';
import { captureRole, imagesText, oplogRole, oplogView, shellText } from './setup.ts';
import { listUsers, UserNames } from './user-names.ts';

/** Collections named in one line. */
const MAX_NAMED = 20;

export async function checkMongodb(options: ResolvedMongodb, signal: AbortSignal): Promise<CheckReport> {
  const items: CheckItem[] = [];
  let client: MongoClient | null = null;
  try {
    client = createClient(options.url, options.name);
    const deployment = await inspectDeployment(client, options.url, options.name);
    items.push(connectionItem(deployment));
    items.push(await streamItem(client, options, deployment, signal));
    const databases = await matchingDatabases(client, options.matcher, options.only);
    const collections = await capturedCollections(client, options.matcher, databases);
    items.push(...patternItems(options, collections), imageItem(options, collections));
    items.push(...(await userItems(client, options, deployment, databases, signal)));
  } catch (error) {
    items.push(failed(mongoError(error, options.name)));
  } finally {
    await client?.close();
  }
  return { items };
}

function failed(error: AuditError): CheckItem {
  const fix = error.action === undefined ? {} : { fix: error.action };
  return { name: 'connection', level: 'error', detail: messageOf(error), ...fix };
}

function connectionItem(deployment: Deployment): CheckItem {
  const what = deployment.sharded
    ? 'sharded cluster (not tested by this project)'
    : `replica set ${deployment.setName}`;
  const level = deployment.sharded ? 'warning' : 'ok';
  return { name: 'connection', level, detail: `MongoDB ${deployment.version}, ${what}` };
}

async function streamItem(
  client: MongoClient,
  options: ResolvedMongodb,
  deployment: Deployment,
  signal: AbortSignal,
): Promise<CheckItem> {
  const name = 'change_stream';
  try {
    const pipeline = streamPipeline({
      start: { time: freshStart(deployment.now).time },
      cluster: options.only === null,
      matcher: options.matcher,
      contextCollection: options.context_collection,
      detail: 'whole',
      split: deployment.splitsLargeEvents,
    });
    const cursor = await RawCursor.open({ client, database: options.only ?? 'admin', pipeline, batchSize: 0, signal });
    await cursor.close();
    return { name, level: 'ok', detail: options.only === null ? 'the whole cluster' : `the database ${options.only}` };
  } catch (error) {
    if (serverCode(error) !== SERVER_CODE.UNAUTHORIZED) throw error;
    const fix = `As an administrator: ${shellText(captureRole(options.only))}, then grant it to the user; or set scope: database.`;
    return { name, level: 'error', detail: 'the user may not open it', fix };
  }
}

function patternItems(options: ResolvedMongodb, collections: readonly CollectionInfo[]): CheckItem[] {
  const unused = options.matcher.unused(collections);
  if (unused.length === 0) return [{ name: 'collections', level: 'ok', detail: `${collections.length} are captured` }];
  return unused.map((pattern) => ({
    name: 'collections',
    level: 'warning',
    detail: `the pattern ${pattern} matches no collection yet`,
    fix: patternFix(pattern, collections),
  }));
}

function imageItem(options: ResolvedMongodb, collections: readonly CollectionInfo[]): CheckItem {
  const name = 'images';
  if (collections.some((c) => c.images === null)) {
    return {
      name,
      level: 'warning',
      detail: 'the user may not see the options of collections',
      fix: 'Grant listCollections, as setup --print shows.',
    };
  }
  const bare = withoutImages(collections, options.context_collection);
  if (bare.length === 0) return { name, level: 'ok', detail: 'all captured collections have pre- and post-images' };
  return {
    name,
    level: 'warning',
    detail: `${bare.length} captured collections lack pre- and post-images: ${bare
      .slice(0, MAX_NAMED)
      .map((c) => `${c.database}.${c.collection}`)
      .join(', ')}`,
    fix: bare
      .slice(0, MAX_NAMED)
      .map((c) => imagesText(c.database, c.collection))
      .join('; '),
  };
}

async function userItems(
  client: MongoClient,
  options: ResolvedMongodb,
  deployment: Deployment,
  databases: readonly string[],
  signal: AbortSignal,
): Promise<CheckItem[]> {
  if (!deployment.authentication) {
    const detail = 'authentication is off: the server does not know who writes';
    return [
      {
        name: 'users',
        level: 'warning',
        detail,
        fix: 'Start mongod with --auth or --keyFile, and put a user into the url.',
      },
    ];
  }
  const users = await listUsers(client, databases);
  const items: CheckItem[] =
    users === null
      ? [
          {
            name: 'users',
            level: 'warning',
            detail: 'the user may not list users: writers stay hashes',
            fix: 'Grant viewUser on { cluster: true }.',
          },
        ]
      : [{ name: 'users', level: 'ok', detail: `${users.length} names are known` }];
  const { oplog_view: view } = options;
  if (view === false || deployment.sharded) return items;
  const state = await new OplogJoin(client, view, new UserNames([])).probe(signal);
  if (state === 'ready')
    items.push({ name: 'oplog_view', level: 'ok', detail: `local.${view} names the user of retryable writes` });
  else {
    const missing = state === 'oplog_view_missing';
    items.push({
      name: 'oplog_view',
      level: 'warning',
      detail: `local.${view} ${missing ? 'does not exist' : 'may not be read'}: only transactions have a user`,
      fix: missing ? shellText(oplogView(view)) : `${shellText(oplogRole(view))}, then grant it to the user`,
    });
  }
  return items;
}
