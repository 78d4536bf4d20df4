// Who made a write that is not part of a transaction: the oplog has the user's hash, the change stream has not. One range
// query a batch on a view of the oplog, joined by cluster time, collection and key.
import { type Document, type MongoClient, Timestamp } from 'mongodb';
import type { ActorFact } from '../../src/core/actor.ts';
import { findElement } from './bson/layout.ts';
import type { ClusterTime } from './cluster-time.ts';
import { rawFind } from './cursor.ts';
import { SERVER_CODE, serverCode } from './errors.ts';
import { ABSENT, type EventView } from './events.ts';
import { Entries, type Entry } from './oplog-entries.ts';
import { type Unattributed, type UserNames, unattributed } from './user-names.ts';

/** Operations of the oplog: `c` is a command, which from MongoDB 8.0 on may hold several inserts. */
const COMMAND = 0x63;
/** Entries a reply: more than a batch of events has, so that one round trip is enough. */
const JOIN_BATCH = 20_000;

/** The view's definition: what the join needs and no more. In `o` only the key: the oplog also holds users' secrets. */
export const OPLOG_VIEW_PIPELINE: readonly Document[] = [
  { $match: { op: { $in: ['i', 'u', 'd', 'c'] } } },
  { $project: { _id: 0, ts: 1, op: 1, ns: 1, 'lsid.uid': 1, 'o2._id': 1, 'o._id': 1 } },
];

export type ViewState = 'ready' | Extract<Unattributed, `oplog_view_${string}`>;

export class OplogJoin {
  readonly #client: MongoClient;
  readonly #view: string;
  readonly #users: UserNames;
  /** Lets at least the captured collections through: others may have written far more in between. */
  readonly #filter: Document;
  #state: ViewState = 'oplog_view_missing';
  /** What the server said of the current batch of events, by time, and the entry that is next. */
  readonly #entries = new Entries();

  constructor(client: MongoClient, view: string, users: UserNames, filter: Document = {}) {
    this.#client = client;
    this.#filter = filter;
    this.#view = view;
    this.#users = users;
  }

  get state(): ViewState {
    return this.#state;
  }

  /** Looks whether the view is there and may be read. A view on the oplog is never empty. */
  async probe(signal: AbortSignal): Promise<ViewState> {
    try {
      const [batch] = await rawFind(
        this.#client.db('local'),
        { find: this.#view, limit: 1, singleBatch: true },
        signal,
      );
      this.#state = (batch?.events.length ?? 0) > 0 ? 'ready' : 'oplog_view_missing';
    } catch (error) {
      if (serverCode(error) !== SERVER_CODE.UNAUTHORIZED) throw error;
      this.#state = 'oplog_view_unreadable';
    }
    return this.#state;
  }

  /** Reads the entries of a range of events, both ends included. When the view is gone, `state` says so afterwards. */
  async load(first: ClusterTime, last: ClusterTime, signal: AbortSignal): Promise<void> {
    this.#entries.reset([]);
    if (this.#state !== 'ready') return;
    const filter = { ts: { $gte: timestamp(first), $lte: timestamp(last) }, ...this.#filter };
    try {
      const command = { find: this.#view, filter, batchSize: JOIN_BATCH };
      this.#entries.reset(await rawFind(this.#client.db('local'), command, signal));
    } catch (error) {
      if (serverCode(error) !== SERVER_CODE.UNAUTHORIZED) throw error;
    }
    // A view that was dropped has no entries, and one that may not be read any more gives none.
    if (this.#entries.current === null) await this.probe(signal);
  }

  /** True when the event's user has a name, or none that could be learnt. */
  knowsUser(event: EventView): boolean {
    const entry = this.#entries.find(event);
    return entry === null || entry.uid === ABSENT || this.#users.knows(entry.bytes, entry.uid);
  }

  /** What the oplog says of the event's writer. Events must come in their order. */
  fact(event: EventView, namespace: Buffer): ActorFact {
    if (this.#state !== 'ready') return unattributed(this.#state);
    const entry = this.#entries.find(event);
    if (entry === null) return unattributed('oplog_rolled');
    if (entry.uid === ABSENT || !isAbout(entry, event, namespace)) return unattributed('not_attributable');
    return this.#users.fact(entry.bytes, entry.uid);
  }
}

/** Times are unique in one oplog; that the entry is about the same document is the proof that it is this oplog. */
function isAbout(entry: Entry, event: EventView, namespace: Buffer): boolean {
  if (entry.op === COMMAND) return true;
  const { bytes } = entry;
  if (bytes.compare(namespace, 0, namespace.length, entry.nsStart, entry.nsEnd) !== 0) return false;
  if (entry.idStart === ABSENT || event.key === ABSENT) return true;
  const id = findElement(event.bytes, event.key, '_id');
  if (id === null) return true;
  return id.type === entry.idType && bytes.compare(event.bytes, id.at, id.next, entry.idStart, entry.idEnd) === 0;
}

function timestamp(time: ClusterTime): Timestamp {
  return new Timestamp({ t: time.seconds, i: time.increment });
}
