// A MongoDB deployment as a source: opens the change stream where the ledger stands, or says what is missing.
import type { MongoClient } from 'mongodb';
import type { CheckReport, Connector, ResumePoint, SourceHost, SourceStream } from '../../src/core/connector.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import { Attribution } from './attribution.ts';
import { checkMongodb } from './check.ts';
import { createClient, type Deployment, describeDeployment, inspectDeployment, oneRouterUrl } from './client.ts';
import { type ClusterTime, isoTime, timeText } from './cluster-time.ts';
import { type CollectionInfo, capturedCollections, matchingDatabases, withoutImages } from './collections.ts';
import { RawCursor } from './cursor.ts';
import { historyLost, mongoError } from './errors.ts';
import { ImageState } from './image-state.ts';
import { Namespaces } from './namespaces.ts';
import type { MongodbOptions } from './options.ts';
import { type CollectionMatcher, collectionMatcher } from './patterns.ts';
import { probePipeline } from './pipeline.ts';
import { planMongodb } from './plan.ts';
import { formatPosition } from './position.ts';
import {
  freshStart,
  type GapCause,
  otherHistory,
  restartTime,
  restoreState,
  type SourceState,
  type Start,
  whereItStands,
} from './resume.ts';
import { AutomaticSetup, imagesText } from './setup.ts';
import { MongoStream } from './stream.ts';
import { UserNames } from './user-names.ts';

/** Collections named in one warning; `doctor` lists all. */
const MAX_NAMED = 5;

/** What the options come to for one source. */
export interface ResolvedMongodb extends MongodbOptions {
  readonly name: string;
  readonly matcher: CollectionMatcher;
  /** The one database with `scope: database`, else null. */
  readonly only: string | null;
}

/** @throws AUD_MONGO_URL when `scope: database` names no single database. */
export function resolveMongodb(name: string, options: MongodbOptions): ResolvedMongodb {
  const matcher = collectionMatcher(options.collections);
  if (options.scope === 'cluster') return { ...options, name, matcher, only: null };
  const only = options.database ?? (matcher.databases?.length === 1 ? matcher.databases[0]! : null);
  if (only === null) {
    throw new AuditError('AUD_MONGO_URL', {
      message: `Source ${name} has scope: database, but its collections do not name one database.`,
      action: 'Set database: <name>, or begin all patterns with the same database.',
    });
  }
  return { ...options, name, matcher, only };
}

/** @throws AUD_MONGO_URL */
export function createMongodbConnector(options: MongodbOptions, host: SourceHost): Connector {
  return new MongodbConnector(resolveMongodb(host.name, options), host);
}

class MongodbConnector implements Connector {
  readonly #options: ResolvedMongodb;
  readonly #host: SourceHost;
  #client: MongoClient | null = null;
  #saidSetup = false;
  /** Set when a stream ended because its history was lost: then the next start does not ask again. */
  #lost: GapCause | null = null;

  constructor(options: ResolvedMongodb, host: SourceHost) {
    this.#options = options;
    this.#host = host;
  }

  check(signal: AbortSignal): Promise<CheckReport> {
    return checkMongodb(this.#options, signal);
  }

  plan(): Promise<readonly string[]> {
    return planMongodb(this.#options);
  }

  async open(resume: ResumePoint, signal: AbortSignal): Promise<SourceStream> {
    await this.close();
    const abort = () => void this.#client?.close();
    signal.addEventListener('abort', abort, { once: true });
    try {
      const { client, deployment } = await this.#connect();
      return await this.#open(client, deployment, resume, signal);
    } catch (error) {
      throw mongoError(error, this.#options.name);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.close();
  }

  /** Of a sharded cluster one mongos is kept to. */
  async #connect(): Promise<{ client: MongoClient; deployment: Deployment }> {
    const { url, name } = this.#options;
    const client = createClient(url, name);
    this.#client = client;
    const deployment = await inspectDeployment(client, url, name);
    if (!deployment.sharded) return { client, deployment };
    await client.close();
    const one = oneRouterUrl(url, Math.random());
    const router = createClient(one, name);
    this.#client = router;
    return { client: router, deployment: await inspectDeployment(router, one, name) };
  }

  async #open(
    client: MongoClient,
    deployment: Deployment,
    resume: ResumePoint,
    signal: AbortSignal,
  ): Promise<SourceStream> {
    const options = this.#options;
    const host = this.#host;
    const state = restoreState(resume.state) ?? restoreState(resume.started);
    const stands = whereItStands(resume);
    const { start, cause } = await this.#decide(client, deployment, stands, state, signal);
    const databases = await matchingDatabases(client, options.matcher, options.only);
    const collections = await capturedCollections(client, options.matcher, databases);
    const fresh = start.first || cause !== null;
    const images = new ImageState(fresh ? [] : (state?.images ?? []));
    if (fresh) for (const c of collections) images.set(c.database, c.collection, c.images === true);
    else for (const { object, after } of resume.schemas) images.apply(object, after);
    const users = new UserNames([...(state?.users ?? []), ...options.users]);
    const remember = () => host.remember(stateOf(deployment, state, users, images));
    if (cause !== null) this.#recordGap(cause, stands!, start.time);
    remember();
    this.#recordStart(deployment, stands, start, collections.length, stateOf(deployment, state, users, images));
    if (fresh) this.#recordCollections(collections);
    const setup = options.setup === 'auto' ? new AutomaticSetup(client, host.log, options.name) : null;
    await this.#setUp(setup, collections, deployment);
    if (fresh) host.output.idle(formatPosition({ time: start.time, seq: -1, token: null }));
    return this.#stream({ client, deployment, start, images, users, databases, setup, remember });
  }

  /** Whether the stream can go on where the ledger stands; else where it starts instead, and why. */
  async #decide(
    client: MongoClient,
    deployment: Deployment,
    stands: Start | null,
    state: SourceState | null,
    signal: AbortSignal,
  ): Promise<{ start: Start; cause: GapCause | null }> {
    if (stands === null) {
      const start = freshStart(deployment.now);
      // Missing rights are told now, not by a stream that ends at once.
      await this.#tryOpen(client, { time: start.time }, signal);
      return { start, cause: null };
    }
    const other = otherHistory(stands, state, deployment);
    const cause = other ?? this.#lost ?? (await this.#cannotResume(client, stands, signal));
    this.#lost = null;
    if (cause === null) return { start: stands, cause: null };
    const now = { ...freshStart(deployment.now), first: false };
    const wanted = { ...now, time: restartTime(this.#options.on_history_lost, deployment.now) };
    // A configured time may be before what the oplog holds, too.
    const reachable = (await this.#tryOpen(client, { time: wanted.time }, signal)) === null;
    return { start: reachable ? wanted : now, cause };
  }

  /** Asks the server: it knows whether its oplog reaches back, and whether it had the event of the kept token. */
  async #cannotResume(client: MongoClient, stands: Start, signal: AbortSignal): Promise<GapCause | null> {
    const lost = await this.#tryOpen(client, { time: stands.time }, signal);
    if (lost !== null || stands.proof === null) return lost;
    const proof = await this.#tryOpen(client, { token: stands.proof }, signal);
    // The token may be older than the place to go on from, and be gone without any loss.
    return proof === 'oplog_rolled_over' ? null : proof;
  }

  async #tryOpen(
    client: MongoClient,
    start: { readonly time: ClusterTime } | { readonly token: string },
    signal: AbortSignal,
  ): Promise<GapCause | null> {
    const { only } = this.#options;
    const pipeline = probePipeline(start, only === null);
    try {
      // With a batch size of 0 the server would not look for the place yet.
      const cursor = await RawCursor.open({ client, database: only ?? 'admin', pipeline, batchSize: 1, signal });
      await cursor.close();
      return null;
    } catch (error) {
      const cause = historyLost(error);
      if (cause === null) throw error;
      return cause;
    }
  }

  #stream(parts: {
    readonly client: MongoClient;
    readonly deployment: Deployment;
    readonly start: Start;
    readonly images: ImageState;
    readonly users: UserNames;
    readonly databases: readonly string[];
    readonly setup: AutomaticSetup | null;
    remember(): void;
  }): MongoStream {
    const host = this.#host;
    const options = this.#options;
    const { client, deployment, images, users, databases } = parts;
    const contextCollection = options.context_collection;
    return new MongoStream({
      ...parts,
      host,
      database: options.only,
      matcher: options.matcher,
      contextCollection,
      onLost: (cause) => {
        this.#lost = cause;
      },
      batchSize: options.batch_size,
      namespaces: new Namespaces({
        matcher: options.matcher,
        contextCollection,
        actors: host.actors,
        imagesOn: (database, collection) => images.isOn(database, collection),
      }),
      attribution: new Attribution({
        client,
        name: options.name,
        log: host.log,
        users,
        databases,
        view: options.oplog_view === false ? null : options.oplog_view,
        authentication: deployment.authentication,
        sharded: deployment.sharded,
        intervalMs: options.users_interval * 1000,
        now: () => host.now(),
      }),
    });
  }

  #recordGap(cause: GapCause, stands: Start, to: ClusterTime): void {
    const lineageReset = cause === 'other_cluster' || cause === 'server_behind' || cause === 'resume_token_not_found';
    const from = stands.time;
    this.#host.output.control({
      kind: 'gap',
      action: 'gap',
      outcome: 'unknown',
      details: {
        from: timeText(from),
        to: timeText(to),
        from_time: isoTime(from),
        to_time: isoTime(to),
        cause,
        ...(lineageReset ? { lineage_reset: true } : {}),
      },
    });
    this.#host.log.error(
      {
        event: 'gap',
        source: this.#options.name,
        cause,
        from: timeText(from),
        to: timeText(to),
        action: GAP_ACTIONS[cause],
      },
      `Changes between ${isoTime(from)} and ${isoTime(to)} may be missing from the trail (${cause}); a gap record says so.`,
    );
  }

  #recordStart(
    deployment: Deployment,
    stands: Start | null,
    start: Start,
    collections: number,
    state: SourceState,
  ): void {
    const { scope, oplog_view, context_collection } = this.#options;
    this.#host.output.control({
      kind: 'capture',
      action: 'start',
      source: { ts: timeText(start.time) },
      details: {
        from: timeText(start.time),
        previous: stands === null ? null : timeText(stands.time),
        server_version: deployment.version,
        sharded: deployment.sharded,
        authentication: deployment.authentication,
        replica_set_id: state.replica_set_id,
        set_name: state.set_name,
        scope,
        oplog_view,
        context_collection,
        collections,
      },
    });
    this.#host.log.info(
      {
        event: 'opened',
        source: this.#options.name,
        ...describeDeployment(deployment),
        from: timeText(start.time),
        collections,
      },
      `Reads the change stream of MongoDB ${deployment.version}.`,
    );
  }

  /** What was there when capture began: the records of later changes build on it. */
  #recordCollections(collections: readonly CollectionInfo[]): void {
    for (const { database, collection, type, options } of collections) {
      if (options === null) continue;
      this.#host.output.control({
        kind: 'schema',
        action: 'read',
        source: { database },
        object: { database, collection },
        after: { type, ...options },
      });
    }
  }

  async #setUp(
    setup: AutomaticSetup | null,
    collections: readonly CollectionInfo[],
    deployment: Deployment,
  ): Promise<void> {
    const { oplog_view: view, context_collection: context, name } = this.#options;
    const bare = withoutImages(collections, context);
    if (setup !== null) {
      await setup.images(bare);
      if (view !== false && deployment.authentication && !deployment.sharded) await setup.view(view);
    }
    if (this.#saidSetup) return;
    this.#saidSetup = true;
    for (const pattern of this.#options.matcher.unused(collections)) {
      const known = collections.map((c) => `${c.database}.${c.collection}`).slice(0, 20);
      this.#host.log.warn(
        {
          event: 'pattern_unused',
          source: name,
          pattern,
          action: `Collections that are captured: ${known.join(', ') || 'none'}.`,
        },
        `The pattern ${pattern} matches no collection yet.`,
      );
    }
    if (setup !== null || bare.length === 0) return;
    const commands = bare.slice(0, MAX_NAMED).map((c) => imagesText(c.database, c.collection));
    const more = bare.length > MAX_NAMED ? ` (and ${bare.length - MAX_NAMED} more: changetrail setup --print)` : '';
    this.#host.log.warn(
      {
        event: 'images_off',
        source: name,
        collections: bare.length,
        action: `As an administrator: ${commands.join('; ')}${more}`,
      },
      `${bare.length} captured collection${bare.length === 1 ? ' has' : 's have'} no pre- and post-images: records of updates and deletes lack before and after.`,
    );
  }
}

const GAP_ACTIONS: Readonly<Record<GapCause, string>> = {
  other_cluster:
    'If the url is wrong, correct it; a new deployment is better given a new source name in the configuration.',
  server_behind: 'If the url is wrong, correct it; after a restore of the database nothing is to be done.',
  resume_token_not_found: 'If the url is wrong, correct it; after a restore of the database nothing is to be done.',
  resume_token_invalid: 'Nothing; the position was not one of this server’s.',
  oplog_rolled_over: 'Enlarge the oplog: db.adminCommand({ replSetResizeOplog: 1, size: <MB> }), or minRetentionHours.',
};

function stateOf(
  deployment: Deployment,
  before: SourceState | null,
  users: UserNames,
  images: ImageState,
): SourceState {
  return {
    // A user that may not read it any more must not make the set forget its name.
    replica_set_id: deployment.replicaSetId ?? (before?.set_name === deployment.setName ? before.replica_set_id : null),
    set_name: deployment.setName,
    users: users.list(),
    images: images.names(),
  };
}
