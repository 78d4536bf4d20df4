import type { ActorFact, ActorStage, RowActorRule, TransactionFacts } from '../core/actor.ts';
import { BoundedJson } from './bounded-json.ts';
import { compose, type Keeper, type Ready } from './compose.ts';
import { type Judged, MessageJudge } from './judge.ts';
import type { ActorMetrics } from './metrics.ts';
import { type ActorOptions, actorOptions, settingNames } from './options.ts';
import { MAX_FIELD_BYTES, NOBODY, type Rendered } from './rendered.ts';
import { ActorRules } from './rules.ts';
import { readLsid, readSession, type ServerFacts } from './server-facts.ts';
import { SessionSeal } from './session-seal.ts';
import { TextCache } from './text-cache.ts';
import { ClaimVerifier, type UsedClaim } from './verifier.ts';

export interface ActorStageOptions {
  /** The source's name in the configuration: the audience of signed claims. */
  readonly source: string;
  /** Signed claims that earlier runs saw used and that may still be alive, oldest first. */
  readonly usedClaims?: readonly UsedClaim[];
  /** The `actors:` part of the configuration; absent: no rules, no keys. */
  readonly options?: ActorOptions;
  readonly metrics: ActorMetrics;
}

/** Distinct sessions and writers of rows kept ready, per generation of the cache. */
const KEPT_SESSIONS = 2048;
const KEPT_WRITERS = 2048;
const EMPTY = new Uint8Array(0);
const NO_VALUE = Object.freeze({});

/** A writer that a row names. */
interface Writer extends Keeper {
  readonly row: Rendered;
}

/**
 * The ladder of actor sources for one source. All of its state belongs to the current transaction and `begin` drops it: both
 * engines deliver transactions whole and in the order of commit. Throws AUD_CONFIG_INVALID for an unusable key of `claims`.
 */
export function createActorStage(options: ActorStageOptions): ActorStage {
  return new Stage(options);
}

class Stage implements ActorStage {
  readonly settings: readonly string[];
  readonly #rules: ActorRules;
  readonly #judge: MessageJudge;
  readonly #metrics: ActorMetrics;
  readonly #seal = new SessionSeal();
  readonly #sessions = new TextCache<{ readonly facts: ServerFacts | null }>(KEPT_SESSIONS);
  readonly #lsids = new WeakMap<object, { readonly facts: ServerFacts | null; readonly reason: string | null }>();
  readonly #writers = new TextCache<Writer>(KEPT_WRITERS);
  readonly #nobody: Keeper = { ready: null };

  #tx: TransactionFacts = { id: '', timeMs: 0 };
  #message: Judged | null = null;
  #sequin: Judged | null = null;
  /** True when the annotation came after the message. */
  #sequinLast = false;
  /** Holds for the next change only. */
  #once: Judged | null = null;
  #server: ServerFacts | null = null;
  #sealed = false;
  #serverReason: string | null = null;
  /** The fragment of the changes to come, until a fact or a transaction changes it. */
  #current: Ready | null = null;
  /** What the last change was given, for `count`. */
  #given: Ready | null = null;

  constructor(options: ActorStageOptions) {
    const parsed = options.options ?? actorOptions.parse({});
    const verifier = new ClaimVerifier(parsed.claims, options.source, options.usedClaims);
    this.#rules = new ActorRules(parsed);
    this.settings = settingNames(parsed);
    this.#metrics = options.metrics;
    this.#judge = new MessageJudge(this.#rules, verifier, options.metrics);
  }

  sessionKey(key: Uint8Array | null): void {
    this.#seal.setKey(key);
  }

  begin(transaction: TransactionFacts): void {
    this.#tx = transaction;
    this.#message = null;
    this.#sequin = null;
    this.#sequinLast = false;
    this.#once = null;
    this.#server = null;
    this.#sealed = false;
    this.#serverReason = null;
    this.#current = null;
  }

  observe(fact: ActorFact): void {
    this.#current = null;
    switch (fact.via) {
      case 'message':
        this.#message = this.#judge.judge('message', textOf(fact), this.#tx);
        this.#sequinLast = false;
        break;
      case 'sequin':
        this.#sequin = this.#judge.judge('sequin', textOf(fact), this.#tx);
        this.#sequinLast = true;
        break;
      case 'sequin_clear':
        this.#sequin = null;
        break;
      case 'bemi':
        this.#once = this.#judge.judge('bemi', textOf(fact), this.#tx);
        break;
      case 'session':
        this.#observeSession(textOf(fact));
        break;
      case 'lsid':
        this.#observeLsid(fact.value ?? NO_VALUE);
        break;
    }
  }

  get known(): boolean {
    if ((this.#claim()?.rendered.identity ?? '') !== '') return true;
    const server = this.#server;
    // What a shared role is known for is less than the row says; every other word of the database is more.
    return server !== null && (server.fromSetting || server.roleIs !== 'application');
  }

  fragment(): Uint8Array {
    const ready = this.#current ?? this.#make(null);
    this.#give(ready);
    return ready.composed.bytes;
  }

  rowRule(schema: string, table: string): RowActorRule | null {
    return this.#rules.column(schema, table);
  }

  inferred(rule: RowActorRule, writer: string): Uint8Array {
    if (writer === '' || this.known) return this.fragment();
    const named = this.#writers.getText(`${rule.type ?? ''}\n${writer}`, () => this.#writer(rule, writer));
    const ready = this.#make(named);
    this.#give(ready);
    return ready.composed.bytes;
  }

  count(schema: string, table: string, changes: number): void {
    const { composed, application } = this.#given ?? this.#make(null);
    this.#metrics.count(schema, table, changes, composed.as, composed.roleOnly);
    application.changes += changes;
    if (composed.as === 'none' || composed.roleOnly) application.without_actor += changes;
  }

  #observeSession(bytes: Uint8Array): void {
    const session = this.#seal.open(bytes, this.#tx.id);
    const forged = session?.seal === 'forged';
    const facts =
      session === null || forged
        ? null
        : this.#sessions.get(session.json, (json) => ({ facts: readSession(json, this.#rules) })).facts;
    if (facts === null) {
      // The true message, if there was one, still counts: a forged one must not displace it.
      this.#serverReason = forged ? 'session_forged' : 'session_invalid';
      this.#metrics.reason(this.#serverReason);
      return;
    }
    this.#server = facts;
    this.#sealed = session?.seal === 'sealed';
  }

  #observeLsid(value: Readonly<Record<string, unknown>>): void {
    let read = this.#lsids.get(value);
    if (read === undefined) {
      const reason = value['reason'];
      read = { facts: readLsid(value, this.#rules), reason: isReason(reason) ? reason : null };
      // Connectors hand in the same object again for the same user, but only a frozen one is sure to be the same.
      if (Object.isFrozen(value)) this.#lsids.set(value, read);
    }
    this.#server = read.facts;
    this.#sealed = true;
    this.#serverReason = read.facts === null ? read.reason : null;
  }

  /** The application's word for the next change. */
  #claim(): Judged | null {
    if (this.#once !== null) return this.#once;
    return this.#sequin !== null && (this.#sequinLast || this.#message === null) ? this.#sequin : this.#message;
  }

  /** Remembers what a change was given, and uses up what held for one change. */
  #give(ready: Ready): void {
    this.#given = ready;
    if (this.#once === null) return;
    this.#once = null;
    this.#current = null;
  }

  /** The fragment for what is known now. The last one made for the same actor is taken when all else is the same too. */
  #make(writer: Writer | null): Ready {
    const claim = this.#claim();
    const server = this.#server;
    const sealed = this.#sealed;
    const serverReason = this.#serverReason;
    const keeper = writer ?? claim ?? server ?? this.#nobody;
    let ready = keeper.ready;
    if (
      ready === null ||
      ready.claim !== claim ||
      ready.server !== server ||
      ready.sealed !== sealed ||
      ready.serverReason !== serverReason
    ) {
      const known = { claim, server, sealed, serverReason, row: writer?.row ?? null };
      const composed = compose(known);
      ready = { ...known, composed, application: this.#metrics.application(composed.application) };
      keeper.ready = ready;
    }
    if (writer === null && this.#once === null) this.#current = ready;
    return ready;
  }

  #writer(rule: RowActorRule, writer: string): Writer {
    const labels = this.#rules.id(writer.slice(0, MAX_FIELD_BYTES));
    const text = new BoundedJson(3 * MAX_FIELD_BYTES);
    const field = (key: string, value: string) => `"${key}":${text.text(key, value, MAX_FIELD_BYTES)}`;
    const fields = [field('id', writer), field('type', rule.type ?? labels.type ?? 'user')];
    if (labels.name !== undefined) fields.push(field('name', labels.name));
    return { row: { identity: fields.join(','), context: NOBODY.context, cut: text.cut }, ready: null };
  }
}

function textOf(fact: ActorFact): Uint8Array {
  if (fact.text !== undefined) return fact.text;
  try {
    return Buffer.from(JSON.stringify(fact.value) ?? '', 'utf8');
  } catch {
    return EMPTY; // Too deep to be written as JSON; read as an invalid message.
  }
}

/** Reasons are words of our own connectors; they stand in the record as they are. */
function isReason(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z][a-z_]{0,63}$/.test(value);
}
