// A MongoDB deployment as a source: opens the change stream where the ledger stands, or says what is missing.
import type { MongoClient } from 'mongodb';
import type { CheckReport, Connector, ResumePoint, SourceHost, SourceStream } from '../../src/core/connector.ts';
import { type Announced, recordCollections, recordGap, recordStart, warnOfImages, warnOfPatterns } from './announce.ts';
import { Attribution } from './attribution.ts';
import { checkMongodb } from './check.ts';
import { createClient, type Deployment, inspectDeployment, oneRouterUrl } from './client.ts';
import type { ClusterTime } from './cluster-time.ts';
import { type CollectionInfo, capturedCollections, matchingDatabases, withoutImages } from './collections.ts';
import { RawCursor } from './cursor.ts';
import { historyLost, isTokenUnreadable, mongoError } from './errors.ts';
import { ImageState } from './image-state.ts';
import { Namespaces } from './namespaces.ts';
import type { MongodbOptions } from './options.ts';
import { probePipeline } from './pipeline.ts';
import { planMongodb } from './plan.ts';
import { formatPosition } from './position.ts';
import { type ResolvedMongodb, resolveMongodb } from './resolved.ts';
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
import { AutomaticSetup } from './setup.ts';
import { MongoStream } from './stream.ts';
import { UserNames } from './user-names.ts';

/** @throws AUD_MONGO_URL */
export function createMongodbConnector(options: MongodbOptions, host: SourceHost): Connector {
  return new MongodbConnector(resolveMongodb(host.name, options), host);
}

/** So often a network or a server that comes back is to blame; after that, an event that no reply can hold may be. */
const SUSPICIOUS_CLOSES = 2;

class MongodbConnector implements Connector {
  readonly #options: ResolvedMongodb;
  readonly #host: SourceHost;
  #client: MongoClient | null = null;
  #saidSetup = false;
  /** Set when a stream ended because its history was lost: then the next start does not ask again. */
  #lost: GapCause | null = null;
  /** Where the stream started whose connection was closed last, and how often that was. */
  #closed = { place: '', times: 0 };

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
    const stands = whereItStands(resume, options.only);
    const { start, cause } = await this.#decide(client, deployment, stands, state, signal);
    const databases = await matchingDatabases(client, options.matcher, options.only);
    const collections = await capturedCollections(client, options.matcher, databases);
    const fresh = start.held === null;
    const images = new ImageState(fresh ? [] : (state?.images ?? []));
    if (fresh) for (const c of collections) images.set(c.database, c.collection, c.images === true);
    else for (const { object, after } of resume.schemas) images.apply(object, after);
    const users = new UserNames([...(state?.users ?? []), ...options.users]);
    const remember = () => host.remember(stateOf(deployment, state, users, images));
    if (cause !== null) recordGap(this.#announced, cause, stands!, start.time);
    remember();
    recordStart(
      this.#announced,
      deployment,
      stands,
      start,
      collections.length,
      stateOf(deployment, state, users, images),
    );
    if (fresh) recordCollections(this.#announced, collections);
    const setup = options.setup === 'auto' ? new AutomaticSetup(client, host.log) : null;
    await this.#setUp(setup, collections, deployment);
    // What led to a gap must not be read again by the next start.
    if (fresh || (cause !== null && !start.held.partOnly)) {
      const { time, seq } = start.held ?? { time: start.time, seq: -1 };
      host.output.idle(formatPosition({ time, seq, token: null, database: null }));
    }
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
    const other = otherHistory(stands, state, deployment) ?? this.#lost;
    this.#lost = null;
    const cause = other ?? (await this.#cannotResume(client, stands, signal));
    if (cause === null) return { start: stands, cause: null };
    // The time is still good, and the ledger holds what comes up to it: nothing has to be left out.
    if (other === null && cause === 'resume_token_invalid') return { start: { ...stands, proof: null }, cause };
    const now = freshStart(deployment.now);
    const wanted = { ...now, time: restartTime(this.#options.on_history_lost, deployment.now, stands, cause) };
    // A configured time may be before what the oplog holds, too.
    const reachable = (await this.#tryOpen(client, { time: wanted.time }, signal)) === null;
    return { start: reachable ? wanted : now, cause };
  }

  /** Asks the server: it knows whether its oplog reaches back, and whether it had the event of the kept token. */
  async #cannotResume(client: MongoClient, stands: Start, signal: AbortSignal): Promise<GapCause | null> {
    const lost = await this.#tryOpen(client, { time: stands.time }, signal);
    if (lost !== null || stands.proof === null) return lost;
    try {
      const proof = await this.#tryOpen(client, { token: stands.proof }, signal);
      // The token may be older than the place to go on from, and be gone without any loss.
      return proof === 'oplog_rolled_over' ? null : proof;
    } catch (error) {
      if (!isTokenUnreadable(error)) throw error;
      return 'resume_token_invalid';
    }
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
    const place = JSON.stringify([parts.start.time, parts.start.held]);
    return new MongoStream({
      ...parts,
      host,
      database: options.only,
      matcher: options.matcher,
      contextCollection,
      suspicious: this.#closed.place === place && this.#closed.times >= SUSPICIOUS_CLOSES,
      onLost: (cause) => {
        this.#lost = cause;
      },
      onClosed: () => {
        this.#closed = { place, times: this.#closed.place === place ? this.#closed.times + 1 : 1 };
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
        log: host.log,
        users,
        databases,
        view: options.oplog_view === false ? null : options.oplog_view,
        oplogFilter: options.matcher.oplogFilter,
        authentication: deployment.authentication,
        sharded: deployment.sharded,
        intervalMs: options.users_interval * 1000,
        now: () => host.now(),
      }),
    });
  }

  /** Does what `setup: auto` may do, and says what is missing otherwise; once. */
  async #setUp(
    setup: AutomaticSetup | null,
    collections: readonly CollectionInfo[],
    deployment: Deployment,
  ): Promise<void> {
    const { oplog_view: view, context_collection: context } = this.#options;
    const bare = withoutImages(collections, context);
    if (setup !== null) {
      await setup.images(bare);
      if (view !== false && deployment.authentication && !deployment.sharded) await setup.view(view);
    }
    if (this.#saidSetup) return;
    this.#saidSetup = true;
    warnOfPatterns(this.#announced, collections);
    if (setup === null && bare.length > 0) warnOfImages(this.#announced, bare);
  }

  get #announced(): Announced {
    return { host: this.#host, options: this.#options };
  }
}

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
