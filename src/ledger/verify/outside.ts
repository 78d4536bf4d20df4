// Heads that were kept elsewhere, against the tree: the only word on what whoever holds the signing key could have changed.
import { messageOf } from '../../errors/audit-error.ts';
import { checkSignature, type Head, parseHead, type VerifierKey } from '../note.ts';
import type { TileReader } from '../tiles.ts';
import type { Findings } from './findings.ts';

export interface OutsideHead {
  readonly name: string;
  readonly size: number | null;
  readonly agrees: boolean;
}

/** A head as it was given, and what it is called in findings. */
export interface GivenHead {
  readonly name: string;
  readonly bytes: Buffer;
}

export class OutsideHeads {
  readonly judged: OutsideHead[] = [];
  readonly #findings: Findings;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** Up to here a head from outside speaks for the ledger. */
  get vouchedFor(): number {
    return Math.max(0, ...this.judged.map(({ agrees, size }) => (agrees ? (size ?? 0) : 0)));
  }

  /** Notes down heads of which nothing can be said, because the tree is not whole. */
  cannotTell(given: readonly GivenHead[]): void {
    for (const { name } of given.slice(this.judged.length)) this.judged.push({ name, size: null, agrees: false });
  }

  /** @throws AUD_LEDGER_TREE when a tile that is needed cannot be read */
  check({ name, bytes }: GivenHead, tiles: TileReader, keys: readonly VerifierKey[]): void {
    let head: Head;
    try {
      head = parseHead(bytes);
    } catch (error) {
      this.judged.push({ name, size: null, agrees: false });
      this.#findings.say('missing', 'head_damaged', `${name} holds no head: ${messageOf(error)}`);
      return;
    }
    const answers = keys.map((key) => checkSignature(head.note, key));
    const valid = answers.includes('valid') && !answers.includes('invalid');
    const agrees = head.size <= tiles.size && tiles.rootAt(head.size).equals(head.root);
    this.judged.push({ name, size: head.size, agrees: agrees && valid });
    if (!valid) {
      this.#findings.say('missing', 'head_damaged', `${name} holds a head without a valid signature of a known key`);
    } else if (head.size > tiles.size) {
      const why = 'the tail was cut, or an old copy put back';
      const message = `${name} holds a head of ${head.size} records, this ledger is signed for ${tiles.size}: ${why}`;
      this.#findings.say('tampered', 'head_ahead', message, tiles.size);
    } else if (!agrees) {
      const message = `${name} holds a head of ${head.size} records that is not of this history: it was rewritten since`;
      this.#findings.say('tampered', 'head_differs', message);
    }
  }
}
