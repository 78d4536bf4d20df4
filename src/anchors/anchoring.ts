// Asks the anchors at the start whether the ledger is what they know, and gives them heads from then on.
import { AuditError, messageOf } from '../errors/audit-error.ts';
import type { SignerSet } from '../keys/signer-set.ts';
import { checkSignature, type Head, withSignatures } from '../ledger/note.ts';
import { forked, type LedgerTree, rolledBack } from '../ledger/tree.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Anchor, AnchoredLedger } from './anchor.ts';
import { fileAnchor } from './file.ts';
import type { AnchorOptions } from './options.ts';
import { s3Anchor } from './s3.ts';
import { witnessAnchor } from './witness.ts';

/** An anchor that does not answer at a start is gone on without after this. */
const START_TIMEOUT_MS = 15_000;
const PUT_TIMEOUT_MS = 30_000;

/** How an anchor stands, for `status`. */
export interface AnchorStatus {
  readonly name: string;
  /** Size of the newest head it is known to hold; null: none since the start. */
  readonly size: number | null;
  readonly at: string | null;
  readonly error: string | null;
}

export function createAnchor(options: AnchorOptions, directory: string, now: () => number): Anchor {
  switch (options.type) {
    case 'file':
      return fileAnchor(options);
    case 'witness':
      return witnessAnchor(options, directory);
    case 's3':
      return s3Anchor(options, now);
  }
}

export interface AnchoringOptions {
  readonly anchors: readonly Anchor[];
  readonly tree: LedgerTree;
  readonly signers: SignerSet;
  readonly log: Logger;
  now(): number;
}

export class Anchoring {
  readonly #options: AnchoringOptions;
  readonly #ledger: AnchoredLedger;
  readonly #status = new Map<string, AnchorStatus>();
  readonly #abort = new AbortController();
  #running: Promise<void> | null = null;
  /** The newest note with a witness's cosignature. */
  #witnessed: string | null = null;

  constructor(options: AnchoringOptions) {
    this.#options = options;
    this.#ledger = {
      origin: options.signers.origin,
      keys: () => options.signers.known(),
      consistency: (older, newer) => options.tree.reader().consistency(older, newer),
    };
    for (const { name } of options.anchors) this.#status.set(name, { name, size: null, at: null, error: null });
  }

  get status(): readonly AnchorStatus[] {
    return [...this.#status.values()];
  }

  /** Takes the newest cosigned note, once. */
  takeWitnessed(): string | null {
    const note = this.#witnessed;
    this.#witnessed = null;
    return note;
  }

  /**
   * Asks each anchor that can answer for its newest head. One that cannot is said and gone on without.
   * @throws AUD_LEDGER_ROLLBACK, AUD_LEDGER_FORK
   */
  async check(): Promise<void> {
    await Promise.all(this.#options.anchors.map((anchor) => this.#checkOne(anchor)));
  }

  async #checkOne(anchor: Anchor): Promise<void> {
    const { tree, log } = this.#options;
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(START_TIMEOUT_MS)]);
    const here = tree.head();
    try {
      const held = await anchor.latest(this.#ledger, signal);
      if (held === undefined && here !== null) await this.#put(anchor, here);
      if (held == null || !this.#isOurs(anchor, held)) return;
      this.#note(anchor, held.size, null);
      if (held.size > tree.size) throw rolledBack('the ledger', held, here);
      if (!tree.agrees(held)) throw forked(anchor.name, held);
    } catch (error) {
      if (isRefusal(error)) throw error;
      log.warn(
        { event: 'anchor_silent', anchor: anchor.name },
        `${messageOf(error)} Whether an old copy of the ledger was put back could not be asked there.`,
      );
      this.#note(anchor, null, messageOf(error));
    }
  }

  /** A head that another ledger, or nobody known, signed says nothing of this one. */
  #isOurs(anchor: Anchor, head: Head): boolean {
    const known = this.#options.signers.known().some((key) => checkSignature(head.note, key) === 'valid');
    if (known && head.origin === this.#ledger.origin) return true;
    const what =
      head.origin === this.#ledger.origin
        ? 'a head with no valid signature of this ledger'
        : `a head of ${head.origin}`;
    this.#options.log.warn(
      { event: 'anchor_foreign', anchor: anchor.name },
      `The anchor ${anchor.name} holds ${what}.`,
    );
    return false;
  }

  /**
   * Gives the head to each anchor; a failure is said and left to the next time. Rounds do not overlap: a call during one
   * waits for it only. @throws AUD_LEDGER_ROLLBACK, AUD_LEDGER_FORK
   */
  put(head: Head): Promise<void> {
    this.#running ??= this.#putAll(head).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** As `put`, after the round that may be running. */
  async putLast(head: Head): Promise<void> {
    await this.#running?.catch(() => undefined);
    await this.put(head);
  }

  async #putAll(head: Head): Promise<void> {
    const results = await Promise.allSettled(
      this.#options.anchors.map(async (anchor) => {
        try {
          await this.#put(anchor, head);
        } catch (error) {
          if (isRefusal(error)) throw error;
          this.#note(anchor, null, messageOf(error));
          this.#options.log.warn({ event: 'anchor_failed', anchor: anchor.name }, messageOf(error));
        }
      }),
    );
    const refused = results.find((result) => result.status === 'rejected');
    if (refused !== undefined) throw refused.reason;
  }

  async #put(anchor: Anchor, head: Head): Promise<void> {
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(PUT_TIMEOUT_MS)]);
    const result = await anchor.put(head, this.#ledger, signal);
    if (result.answer === 'ahead') throw rolledBack('the ledger', { ...head, size: result.size }, head);
    if (result.answer === 'fork') throw forked(anchor.name, { ...head, size: result.size });
    if (result.signatures.length > 0) this.#witnessed = withSignatures(head.noteText, result.signatures);
    this.#note(anchor, head.size, null);
  }

  #note({ name }: Anchor, size: number | null, error: string | null): void {
    const before = this.#status.get(name)!;
    const at = size === null ? before.at : new Date(this.#options.now()).toISOString();
    this.#status.set(name, { name, size: size ?? before.size, at, error });
  }

  /** Gives up what is on the way. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running?.catch(() => undefined);
  }
}

function isRefusal(error: unknown): error is AuditError {
  return error instanceof AuditError && (error.code === 'AUD_LEDGER_ROLLBACK' || error.code === 'AUD_LEDGER_FORK');
}
