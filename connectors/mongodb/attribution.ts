// The server's own word on who wrote: in the event for transactions, in the oplog for retryable writes.
import type { Document, MongoClient } from 'mongodb';
import type { ActorFact } from '../../src/core/actor.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { ClusterTime } from './cluster-time.ts';
import { ABSENT, type EventView, KIND } from './events.ts';
import { uidOf } from './oplog-entries.ts';
import { OplogJoin, type ViewState } from './oplog-join.ts';
import { oplogView, shellText } from './setup.ts';
import { listUsers, type UserNames, unattributed } from './user-names.ts';

/** Somebody unknown is a reason to ask the server at once, but not more often than this. */
const SHORTEST_ASK_MS = 5_000;

export interface AttributionOptions {
  readonly client: MongoClient;
  readonly log: Logger;
  readonly users: UserNames;
  /** Databases whose users may be asked for when those of all databases may not. */
  readonly databases: readonly string[];
  /** Null: the view is not asked. */
  readonly view: string | null;
  /** Which entries of the oplog could be about captured collections. */
  readonly oplogFilter: Document;
  readonly authentication: boolean;
  readonly sharded: boolean;
  readonly intervalMs: number;
  now(): number;
}

export class Attribution {
  readonly #options: AttributionOptions;
  readonly #join: OplogJoin | null;
  #askedMs = Number.NEGATIVE_INFINITY;
  #saidView: ViewState = 'ready';
  #saidUsers = false;

  constructor(options: AttributionOptions) {
    this.#options = options;
    // A mongos has no oplog, and without authentication nobody is in it.
    const useful = options.view !== null && options.authentication && !options.sharded;
    const { client, view, users, oplogFilter } = options;
    this.#join = useful ? new OplogJoin(client, view!, users, oplogFilter) : null;
  }

  /** Asks for users and looks at the view, when that is due. */
  async refresh(signal: AbortSignal): Promise<void> {
    if (this.#options.now() - this.#askedMs < this.#options.intervalMs) return;
    await this.#ask();
    if (this.#join !== null && this.#join.state !== 'ready') this.#say(await this.#join.probe(signal));
  }

  /** Reads what the oplog says of the events from `first` to `last`. */
  async prepare(first: ClusterTime, last: ClusterTime, signal: AbortSignal): Promise<void> {
    if (this.#join === null) return;
    await this.#join.load(first, last, signal);
    this.#say(this.#join.state);
  }

  /** True when the event's user has no name yet and the server may be asked for it now: call `learn`, then go on. */
  isWorthAsking(event: EventView): boolean {
    if (!this.#options.authentication || this.#options.now() - this.#askedMs < SHORTEST_ASK_MS) return false;
    if (event.session === ABSENT) return event.kind !== KIND.OTHER && this.#join?.knowsUser(event) === false;
    const uid = uidOf(event.bytes, event.session);
    return uid !== ABSENT && !this.#options.users.knows(event.bytes, uid);
  }

  /** True when names were learnt that are not remembered yet. */
  get learnt(): boolean {
    return this.#options.users.changed;
  }

  async learn(): Promise<void> {
    await this.#ask();
  }

  /** Who wrote the event, or why that is not known. */
  fact(event: EventView, namespace: Buffer): ActorFact {
    if (event.session !== ABSENT) {
      const uid = uidOf(event.bytes, event.session);
      if (uid !== ABSENT) return this.#options.users.fact(event.bytes, uid);
    }
    if (!this.#options.authentication) return unattributed('authentication_off');
    if (event.kind === KIND.OTHER) return unattributed('not_attributable');
    return (
      this.#join?.fact(event, namespace) ?? unattributed(this.#options.sharded ? 'not_attributable' : 'oplog_view_off')
    );
  }

  async #ask(): Promise<void> {
    const { client, databases, users, authentication, log, now } = this.#options;
    this.#askedMs = now();
    if (!authentication) return;
    const names = await listUsers(client, databases);
    for (const user of names ?? []) users.add(user);
    if (names !== null || this.#saidUsers) return;
    this.#saidUsers = true;
    log.warn(
      {
        event: 'users_unreadable',
        action: 'Grant viewUser on { cluster: true }, as `changetrail setup --print` shows.',
      },
      'The user may not list users: writers are recorded by the hash of their name.',
    );
  }

  #say(state: ViewState): void {
    const { log, view } = this.#options;
    if (state === this.#saidView) return;
    this.#saidView = state;
    if (state === 'ready') return;
    const why = state === 'oplog_view_missing' ? 'does not exist' : 'may not be read by the user';
    log.warn(
      {
        event: state,
        action:
          state === 'oplog_view_missing'
            ? `As an administrator, on each member: ${shellText(oplogView(view!))}`
            : 'Grant the second role that `changetrail setup --print` shows.',
      },
      `The view local.${view} ${why}: writes outside of transactions are recorded without a user.`,
    );
  }
}
