// What makes the ledger tamper-evident, put together for the process that writes it: tree, signatures, head records, anchors,
// retention and compression.
import { Anchoring, type AnchorStatus, createAnchor } from '../anchors/anchoring.ts';
import type { ControlRecord } from '../core/output.ts';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import { openSigners, type SignerSet } from '../keys/signer-set.ts';
import type { Logger } from '../telemetry/log.ts';
import type { IntegrityOptions } from './integrity-options.ts';
import type { OpenLedger } from './ledger.ts';
import { Maintenance } from './maintenance.ts';
import type { Head } from './note.ts';
import { LedgerTree, readCheckpoint, type TreeOptions } from './tree.ts';

/** Giving the last head to anchors may hold an end up this long. */
const LAST_PUT_MS = 10_000;

export interface IntegrityPlan {
  readonly ledger: OpenLedger;
  readonly options: IntegrityOptions;
  readonly log: Logger;
  /** Writes a record about the ledger itself. */
  control(record: ControlRecord): void;
  readonly engine?: TreeOptions['engine'];
  readonly publishMs?: TreeOptions['publishMs'];
  now?(): number;
}

export interface IntegrityStatus {
  readonly origin: string;
  /** Records under the published head. */
  readonly size: number;
  readonly anchors: readonly AnchorStatus[];
}

export interface Integrity {
  /** The published head. */
  head(): Head;
  /** Resolves with a head that covers the record. */
  published(index: number): Promise<Head>;
  onHead(listener: (head: Head) => void): () => void;
  /** Calls the listener once, when nothing can be signed any more (disk, rollback, fork): capture should stop. */
  onFailure(listener: (error: AuditError) => void): void;
  status(): IntegrityStatus;
  /** Compression and retention, now. */
  maintain(): Promise<void>;
  /** For the end, before sinks are drained: publishes, writes the last `head` record and gives its head to the anchors. */
  finish(): Promise<void>;
  /** Publishes what came since. To be called before the ledger is closed. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens the tree, asks the anchors, and begins to publish. Nothing is signed before everything agrees.
 * @throws AUD_LEDGER_CONTRADICTION, AUD_LEDGER_ROLLBACK, AUD_LEDGER_FORK, AUD_KEY_MISSING, AUD_KEY_INVALID, AUD_KEY_SIGN
 */
export async function startIntegrity(plan: IntegrityPlan): Promise<Integrity> {
  const { ledger, options, log, now = Date.now } = plan;
  const { layout, writer } = ledger;
  const signers = openSigners({
    directory: layout.keys,
    keys: options.keys,
    origin: options.origin ?? null,
    existing: readCheckpoint(layout.ledger)?.origin ?? null,
    log,
    now,
  });
  const tree = await LedgerTree.open({
    layout,
    writer,
    signers,
    log,
    now,
    ...(plan.engine === undefined ? {} : { engine: plan.engine }),
    ...(plan.publishMs === undefined ? {} : { publishMs: plan.publishMs }),
  });
  try {
    const anchors = options.anchors.map((anchor) => createAnchor(anchor, layout.anchors, now));
    const anchoring = new Anchoring({ anchors, tree, signers, log, now });
    await anchoring.check();
    await tree.start();
    const integrity = new LedgerIntegrity(plan, tree, signers, anchoring);
    integrity.start();
    return integrity;
  } catch (error) {
    await tree.close();
    throw error;
  }
}

class LedgerIntegrity implements Integrity {
  readonly #plan: IntegrityPlan;
  readonly #tree: LedgerTree;
  readonly #signers: SignerSet;
  readonly #anchoring: Anchoring;
  readonly #maintenance: Maintenance;
  readonly #failures = new Set<(error: AuditError) => void>();
  #timer: NodeJS.Timeout | null = null;
  /** Records that the last `head` record covers. */
  #covered: number;
  /** Records written since by this object; they alone are no reason for another. */
  #own = 0;
  #failure: AuditError | null = null;
  #closing: Promise<void> | null = null;

  constructor(plan: IntegrityPlan, tree: LedgerTree, signers: SignerSet, anchoring: Anchoring) {
    this.#plan = plan;
    this.#tree = tree;
    this.#signers = signers;
    this.#anchoring = anchoring;
    this.#covered = tree.head()!.size;
    this.#maintenance = new Maintenance({
      segments: plan.ledger.layout.segments,
      writer: plan.ledger.writer,
      tree,
      options: plan.options,
      log: plan.log,
      control: (record) => plan.control(record),
      now: plan.now ?? Date.now,
    });
    tree.onFailure((error) => this.#fail(error));
  }

  start(): void {
    this.#announceKeys();
    this.#timer = setInterval(() => this.#interval(), this.#plan.options.head_interval);
    this.#maintenance.start();
  }

  head(): Head {
    return this.#tree.head()!;
  }

  published(index: number): Promise<Head> {
    return this.#tree.published(index);
  }

  onHead(listener: (head: Head) => void): () => void {
    return this.#tree.onHead(listener);
  }

  onFailure(listener: (error: AuditError) => void): void {
    this.#failures.add(listener);
    if (this.#failure !== null) listener(this.#failure);
  }

  status(): IntegrityStatus {
    return { origin: this.#tree.origin, size: this.head().size, anchors: this.#anchoring.status };
  }

  maintain(): Promise<void> {
    return this.#maintenance.run();
  }

  async finish(): Promise<void> {
    this.#stopTimer();
    await this.#maintenance.close();
    await this.#plan.ledger.writer.flushed();
    await this.#tree.catchUp();
    this.#announceKeys();
    this.#writeHead();
    await this.#plan.ledger.writer.flushed();
    const head = await this.#tree.catchUp();
    const timeout = setTimeout(() => void this.#anchoring.close(), LAST_PUT_MS);
    await this.#anchoring.putLast(head).finally(() => clearTimeout(timeout));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopTimer();
    await this.#maintenance.close();
    await this.#anchoring.close();
    const { writer } = this.#plan.ledger;
    // What was written last must be under the last head; what failed is told by the ledger's own close.
    if (writer.failure === null) await writer.flushed().catch(() => undefined);
    await this.#tree.close();
  }

  #interval(): void {
    if (this.#plan.ledger.writer.failure !== null || this.#failure !== null) return;
    this.#announceKeys();
    this.#writeHead();
    // Also a head whose record was written before: an anchor may have been out of reach then.
    this.#anchoring.put(this.head()).catch((error: unknown) => this.#fail(error));
  }

  /** Writes the published head into the ledger, when it covers more than records of this kind. */
  #writeHead(): void {
    const head = this.head();
    if (head.size - this.#covered - this.#own <= 0) return;
    const witnessed = this.#anchoring.takeWitnessed();
    this.#own = 1;
    this.#covered = head.size;
    this.#plan.control({
      kind: 'head',
      action: 'sign',
      details: {
        origin: head.origin,
        size: head.size,
        root: head.root.toString('base64'),
        checkpoint: head.noteText,
        ...(witnessed === null ? {} : { witnessed }),
      },
    });
  }

  /** Says in the ledger which keys began or ceased to sign. */
  #announceKeys(): void {
    const known = this.#tree.knownKeys;
    const current = this.#signers.current().map(({ key }) => key.text);
    const added = current.filter((vkey) => !known.includes(vkey));
    const gone = known.filter((vkey) => !current.includes(vkey));
    if (added.length === 0 && gone.length === 0) return;
    for (const vkey of added) this.#keyRecord('key_add', vkey);
    for (const vkey of gone) this.#keyRecord('key_retire', vkey);
    this.#tree.announce(current);
  }

  #keyRecord(action: 'key_add' | 'key_retire', vkey: string): void {
    this.#plan.control({ kind: 'head', action, details: { vkey } });
    this.#plan.log.info(
      { event: action, vkey },
      action === 'key_add' ? `A new key signs: ${vkey}` : `A key signs no more: ${vkey}`,
    );
  }

  #fail(cause: unknown): void {
    if (this.#failure !== null) return;
    const known = cause instanceof AuditError;
    this.#failure = known
      ? cause
      : new AuditError('AUD_INTERNAL', {
          message: `Defect in the integrity of the ledger: ${messageOf(cause)}.`,
          cause,
        });
    for (const listener of this.#failures) listener(this.#failure);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
