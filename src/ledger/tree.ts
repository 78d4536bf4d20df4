// The tree beside the writer: integrates what is durable, signs it, publishes it; at most a second behind an append.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import type { SignerSet } from '../keys/signer-set.ts';
import type { Logger } from '../telemetry/log.ts';
import type { DataLayout } from './layout.ts';
import { checkpointText, checkSignature, type Head, parseHead, type Signer, signNote } from './note.ts';
import { TileReader } from './tiles.ts';
import { type TreeEngine, threadEngine } from './tree-engine.ts';
import type { FollowerStart, Integrated } from './tree-follower.ts';
import { readTreeState, type TreeState } from './tree-state.ts';
import type { LedgerWriter } from './writer.ts';

/** Half of the second that a head may be behind: integration and signing have the other half. */
export const DEFAULT_PUBLISH_MS = 500;
/** Tiles are synced this often while records come slowly. */
const SYNC_CALM_MS = 10_000;
/** Entries in tiles that may wait for a sync: read and hashed again after a crash, about a second's work. */
const UNSYNCED_ENTRIES = 1 << 19;
/** Entries whose tiles are synced at a time: a moment's work, so that heads do not wait. */
const SYNC_ENTRIES = 1 << 16;
/** At the end only a moment's work: what is left over is hashed again by the next start, which is faster than syncing it. */
const CLOSE_ENTRIES = 1 << 14;
/** Under load entries are hashed while they come, as many at a time, so that a head or the end finds little left to do. */
const EAGER_ENTRIES = 1 << 13;
/** A signing command that fails is tried again after this. */
const RESIGN_MS = 5_000;

export interface TreeOptions {
  readonly layout: DataLayout;
  readonly writer: LedgerWriter;
  readonly signers: SignerSet;
  readonly log: Logger;
  /** Longest time between a durable record and the work on a head that covers it. */
  readonly publishMs?: number;
  /** Where the work is done; default a thread. */
  readonly engine?: (start: FollowerStart) => Promise<TreeEngine>;
  now(): number;
}

/** Reads the published head of a ledger, or null when there is none. @throws AUD_LEDGER_PROOF */
export function readCheckpoint(ledger: string): Head | null {
  const path = join(ledger, 'checkpoint');
  return existsSync(path) ? parseHead(readFileSync(path)) : null;
}

export class LedgerTree {
  readonly #options: TreeOptions;
  readonly #engine: TreeEngine;
  readonly #heads = new Set<(head: Head) => void>();
  readonly #failures = new Set<(error: AuditError) => void>();
  #waiters: { index: number; resolve: (head: Head) => void; reject: (error: AuditError) => void }[] = [];
  #head: Head | null;
  #keys: readonly string[];
  #timer: NodeJS.Timeout | null = null;
  /** When the timer fires. */
  #dueAt = 0;
  /** Entries in tiles that may not be on the disk. */
  #unsynced = 0;
  /** The state file says less than is known. */
  #dirty = false;
  /** Entries that the engine has. */
  #hashed: number;
  #working: Promise<void> | null = null;
  /** Heads that wait for their turn. Nothing is begun before them: what plans the next comes after. */
  #waitingHeads = 0;
  #stopListening: (() => void) | null = null;
  #savedAt: number;
  #failure: AuditError | null = null;
  #closed = false;

  private constructor(options: TreeOptions, engine: TreeEngine, head: Head | null, state: TreeState | null) {
    this.#options = options;
    this.#engine = engine;
    this.#head = head;
    this.#keys = state?.keys ?? [];
    this.#savedAt = options.now();
    this.#hashed = options.writer.durable.next;
  }

  /**
   * Brings the tree to where the ledger is and compares it with what was signed. Signs nothing yet.
   * @throws AUD_LEDGER_CONTRADICTION, AUD_LEDGER_ROLLBACK, AUD_LEDGER_FORK
   */
  static async open(options: TreeOptions): Promise<LedgerTree> {
    const { layout, writer, signers } = options;
    await writer.flushed();
    const head = ownCheckpoint(layout.ledger, signers);
    const state = readTreeState(layout.treeState);
    const remembered = state?.head == null ? null : parseHead(state.head);
    const known = remembered?.origin === signers.origin ? remembered : null;
    if (known !== null && known.size > (head?.size ?? -1)) throw rolledBack(layout.ledger, known, head);
    const engine = await (options.engine ?? threadEngine)({
      ledger: layout.ledger,
      segments: layout.segments,
      synced: known === null ? 0 : state!.synced,
      signed: head,
      end: writer.durable,
    });
    const tree = new LedgerTree(options, engine, head, known === null ? null : state);
    if (known !== null && !tree.agrees(known)) {
      await tree.close();
      throw forked('tree.json', known);
    }
    return tree;
  }

  get origin(): string {
    return this.#options.signers.origin;
  }

  /** The published head; null before the first. */
  head(): Head | null {
    return this.#head;
  }

  /** Verifier keys that were made known: they signed the head that was published last, or were announced. */
  get knownKeys(): readonly string[] {
    return this.#keys;
  }

  /** Notes down which keys are known, with the next state. */
  announce(keys: readonly string[]): void {
    this.#keys = keys;
    this.#dirty = true;
    this.#schedule();
  }

  /** Durable records. */
  get size(): number {
    return this.#options.writer.durable.next;
  }

  /** True when the head is one of this ledger: not beyond it, and of the same records. */
  agrees(head: Head): boolean {
    return head.size <= this.size && this.#reader(this.size).rootAt(head.size).equals(head.root);
  }

  /** Proofs from the published tree. */
  reader(): TileReader {
    return this.#reader(this.#head?.size ?? 0);
  }

  #reader(size: number): TileReader {
    return new TileReader(this.#options.layout.ledger, size);
  }

  /** Publishes what is there, and follows the writer from now on. */
  async start(): Promise<void> {
    await this.catchUp();
    this.#stopListening = this.#options.writer.onDurable(() => this.#schedule());
    this.#schedule();
  }

  /** Publishes a head over everything that is durable now. @throws AUD_KEY_SIGN, AUD_LEDGER_WRITE */
  async catchUp(): Promise<Head> {
    const target = this.#options.writer.durable.next;
    while (this.#head === null || this.#head.size < target) {
      if (this.#failure !== null) throw this.#failure;
      await this.#work(false);
    }
    return this.#head;
  }

  /** Resolves with a head that covers the record. */
  published(index: number): Promise<Head> {
    if (this.#head !== null && this.#head.size > index) return Promise.resolve(this.#head);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#waiters.push({ index, resolve, reject }));
  }

  /** Calls the listener with each head; returns the way to stop it. */
  onHead(listener: (head: Head) => void): () => void {
    this.#heads.add(listener);
    return () => this.#heads.delete(listener);
  }

  /** Calls the listener once, when the tree cannot go on. */
  onFailure(listener: (error: AuditError) => void): void {
    this.#failures.add(listener);
    if (this.#failure !== null) listener(this.#failure);
  }

  /** Makes all full tiles durable, so that they are there without the segments. */
  async makeDurable(): Promise<void> {
    while (this.#working !== null) await this.#working;
    try {
      do await this.#save(SYNC_ENTRIES);
      while (this.#unsynced > 0);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Publishes the rest, makes tiles durable, ends the thread. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const started = this.#stopListening !== null;
    this.#stopListening?.();
    // Each round plans the next: from here on none does, or what the last one leaves unsynced would hold the process.
    this.#stopListening = null;
    this.#clearTimer();
    try {
      await this.#working;
      if (started && this.#failure === null && this.#options.writer.failure === null) {
        await this.catchUp();
        await this.#save(CLOSE_ENTRIES);
      }
    } finally {
      this.#closed = true;
      const error = new AuditError('AUD_LEDGER_CLOSED', {
        message: 'The ledger was closed before a head covered the record.',
      });
      for (const { reject } of this.#waiters.splice(0)) reject(error);
      await this.#engine.close();
    }
  }

  /** Plans what is to be done next; `atLeastMs` puts the next head off. */
  #schedule(atLeastMs = 0): void {
    if (this.#stopListening === null || this.#failure !== null) return;
    if (this.#working !== null || this.#waitingHeads > 0) return;
    this.#scheduleHead(atLeastMs);
    if (this.#options.writer.durable.next - this.#hashed >= EAGER_ENTRIES) this.#advance();
  }

  #advance(): void {
    const end = this.#options.writer.durable;
    this.#working = this.#engine.advance(end).then(
      () => {
        this.#hashed = end.next;
        this.#working = null;
        this.#schedule();
      },
      (error) => {
        this.#working = null;
        this.#fail(error);
      },
    );
  }

  #scheduleHead(atLeastMs: number): void {
    const { writer, now, publishMs = DEFAULT_PUBLISH_MS } = this.#options;
    const behind = this.#dirty || writer.durable.next !== this.#head?.size;
    if (!behind && this.#unsynced === 0) return;
    const dueAt = Math.max(behind ? now() + publishMs : this.#savedAt + SYNC_CALM_MS, now() + atLeastMs);
    if (this.#timer !== null) {
      if (this.#dueAt <= dueAt) return;
      this.#clearTimer();
    }
    this.#dueAt = dueAt;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        // A failure is told to who listens for it.
        this.#work(true).catch(() => undefined);
      },
      Math.max(0, dueAt - now()),
    );
  }

  /** One round, after the one that may be running. `retry`: a signature that fails is left for later. */
  async #work(retry: boolean): Promise<void> {
    this.#waitingHeads++;
    while (this.#working !== null) await this.#working;
    this.#waitingHeads--;
    let waitMs: number | undefined;
    const round = this.#round();
    this.#working = round.then(
      () => undefined,
      () => undefined,
    );
    try {
      await round;
    } catch (error) {
      if (!(error instanceof AuditError) || error.code !== 'AUD_KEY_SIGN') {
        // The engine is of no more use: nothing may be signed that it says.
        this.#fail(error);
        throw error;
      }
      if (!retry) throw error;
      this.#options.log.error({ event: 'sign_failed', code: error.code, action: error.action }, error.message);
      waitMs = RESIGN_MS;
    } finally {
      this.#working = null;
    }
    this.#schedule(waitMs);
  }

  async #round(): Promise<void> {
    const { writer, signers, now } = this.#options;
    const integrated = await this.#engine.integrate(writer.durable);
    this.#hashed = integrated.size;
    const keys = signers.current();
    if (integrated.size !== this.#head?.size || !sameSigners(this.#head, keys)) await this.#publish(integrated, keys);
    this.#unsynced = integrated.unsynced;
    const due = integrated.unsynced > 0 && now() - this.#savedAt >= SYNC_CALM_MS;
    if (due || this.#dirty || integrated.unsynced > UNSYNCED_ENTRIES) await this.#save(SYNC_ENTRIES);
  }

  async #publish({ size, root }: Integrated, keys: readonly Signer[]): Promise<void> {
    const noteText = await signNote(checkpointText({ origin: this.origin, size, root }), keys);
    await this.#engine.publish(noteText);
    const first = this.#head === null;
    const head = parseHead(noteText);
    this.#head = head;
    if (first) {
      this.#keys = keys.map(({ key }) => key.text);
      await this.#save(SYNC_ENTRIES);
    }
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) {
      if (waiter.index < size) waiter.resolve(head);
      else this.#waiters.push(waiter);
    }
    for (const listener of this.#heads) listener(head);
  }

  async #save(entries: number): Promise<void> {
    this.#savedAt = this.#options.now();
    this.#dirty = false;
    const state = { head: this.#head?.noteText ?? null, keys: this.#keys };
    this.#unsynced = await this.#engine.save(this.#options.layout.treeState, state, entries);
  }

  #fail(cause: unknown): void {
    if (this.#failure !== null || this.#closed) return;
    const known = cause instanceof AuditError;
    const error = known
      ? cause
      : new AuditError('AUD_INTERNAL', { message: `Defect in the tree: ${messageOf(cause)}.`, cause });
    this.#failure = error;
    for (const { reject } of this.#waiters.splice(0)) reject(error);
    for (const listener of this.#failures) listener(error);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** The checkpoint, which must be this ledger's own. */
function ownCheckpoint(ledger: string, signers: SignerSet): Head | null {
  const head = readCheckpoint(ledger);
  if (head === null) return null;
  const valid = signers.known().some((key) => checkSignature(head.note, key) === 'valid');
  if (valid && head.origin === signers.origin) return head;
  throw new AuditError('AUD_LEDGER_CONTRADICTION', {
    message: `The checkpoint in ${ledger} was not signed by a key of this ledger.`,
    action:
      'Give the key that signed it (the old one beside the new one for a first start), or run changetrail verify.',
    retry: 'after_operator',
  });
}

function sameSigners(head: Head | null, signers: readonly Signer[]): boolean {
  return (
    head !== null &&
    head.note.signatures.length === signers.length &&
    signers.every(({ key }) => head.note.signatures.some(({ id }) => id === key.id))
  );
}

export function rolledBack(where: string, known: Head, here: Head | null): AuditError {
  return new AuditError('AUD_LEDGER_ROLLBACK', {
    message: `A head of ${known.size} records is known, but ${where} is signed for ${here?.size ?? 'none'}: an old copy was put back, or the tail was cut.`,
    action: 'Restore the newest copy. If there is none: changetrail recover begins a new ledger and says so in it.',
    retry: 'after_operator',
    data: { known: known.size, here: here?.size ?? null },
  });
}

export function forked(where: string, known: Head): AuditError {
  return new AuditError('AUD_LEDGER_FORK', {
    message: `The head of ${known.size} records that ${where} holds is not of this ledger: its history was rewritten, or another ledger was put in its place.`,
    action: 'Keep the directory as evidence. changetrail recover begins a new ledger that names this one.',
    retry: 'after_operator',
    data: { known: known.size },
  });
}
