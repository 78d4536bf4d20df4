// What the ledger says of itself in records: earlier heads, keys that came, segments that went. Judged by the tree.
import { messageOf } from '../../errors/audit-error.ts';
import { checkSignature, type Head, parseHead, parseVerifierKey, type VerifierKey } from '../note.ts';
import type { TileReader } from '../tiles.ts';
import type { Findings } from './findings.ts';
import type { HeadClaim, KeyClaim, PruneClaim } from './scan.ts';

/** Earlier heads that are kept to be checked; of more, every second is let go, again and again. */
const KEPT_HEADS = 1 << 14;

export interface HeadsReport {
  /** `head` records seen. */
  count: number;
  /** Of these, checked against the tree. */
  checked: number;
  /** Checked ones whose key is not known. */
  foreign: number;
  /** Records that the newest one covers, and where it stands. */
  newest: { readonly size: number; readonly index: number } | null;
}

export class Claims {
  readonly heads: HeadsReport = { count: 0, checked: 0, foreign: 0, newest: null };
  readonly prunes: PruneClaim[] = [];
  readonly #findings: Findings;
  readonly #trusted: VerifierKey[];
  /** Keys that a record introduced, until a head by a trusted key covers that record. */
  #introduced: { readonly index: number; readonly key: VerifierKey }[] = [];
  #kept: HeadClaim[] = [];
  #stride = 1;

  constructor(findings: Findings, given: readonly VerifierKey[]) {
    this.#findings = findings;
    this.#trusted = [...given];
  }

  /** The keys given, and those that they vouch for. */
  get trusted(): readonly VerifierKey[] {
    return this.#trusted;
  }

  key({ kind, index, vkey }: KeyClaim): void {
    if (kind === 'key_add') this.#introduced.push({ index, key: parseVerifierKey(vkey) });
  }

  prune(claim: PruneClaim): void {
    this.prunes.push(claim);
  }

  head(claim: HeadClaim): void {
    const { heads } = this;
    if (heads.count++ % this.#stride === 0) this.#kept.push(claim);
    if (this.#kept.length > KEPT_HEADS) {
      this.#kept = this.#kept.filter((_, i) => i % 2 === 0);
      this.#stride *= 2;
    }
    const head = this.#parse(claim, 'head record');
    if (head === null) return;
    if (head.size > claim.index) {
      this.#tampered(claim.index, `The head record ${claim.index} covers ${head.size} records, more than there were`);
    }
    heads.newest = { size: head.size, index: claim.index };
    this.#vouch(head);
  }

  /** A head by a trusted key that covers a record that brings a key vouches for that key. */
  #vouch(head: Head): void {
    if (this.#introduced.length === 0 || !this.#isTrusted(head)) return;
    const covered = this.#introduced.filter(({ index }) => index < head.size);
    this.#trusted.push(...covered.map(({ key }) => key));
    this.#introduced = this.#introduced.filter(({ index }) => index >= head.size);
  }

  /** The published head vouches like any other. */
  published(head: Head): void {
    this.#vouch(head);
  }

  #isTrusted(head: Head): boolean {
    return this.#trusted.some((key) => checkSignature(head.note, key) === 'valid');
  }

  /** After the last record: every kept head is signed and a prefix of the tree. `from`: heads before it cannot be judged. */
  check(tiles: TileReader): void {
    for (const claim of this.#kept) this.#checkHead(claim, tiles, 'head record');
  }

  #checkHead(claim: HeadClaim | PruneClaim, tiles: TileReader, what: string): Head | null {
    const head = this.#parse(claim, what);
    if (head === null || head.size > tiles.size) return null;
    const answers = this.#trusted.map((key) => checkSignature(head.note, key));
    if (answers.includes('invalid')) {
      this.#tampered(claim.index, `The signature of the head in ${what} ${claim.index} is not valid`);
      return null;
    }
    this.heads.checked++;
    if (!answers.includes('valid')) this.heads.foreign++;
    if (!tiles.rootAt(head.size).equals(head.root)) {
      this.#tampered(
        claim.index,
        `The head of ${head.size} records in ${what} ${claim.index} is not one of this history: it was rewritten since`,
      );
      return null;
    }
    return answers.includes('valid') ? head : null;
  }

  /** The removal that explains why the ledger starts at `start`, or null when none does. */
  explains(start: number, tiles: TileReader): PruneClaim | null {
    for (const claim of this.prunes) {
      const boundary = start === claim.to || claim.firsts.includes(start);
      if (!boundary || claim.from >= start) continue;
      const head = this.#checkHead(claim, tiles, 'retention record');
      if (head !== null && head.size >= claim.to) return claim;
    }
    return null;
  }

  #parse(claim: HeadClaim | PruneClaim, what: string): Head | null {
    try {
      return parseHead(claim.noteText);
    } catch (error) {
      this.#tampered(claim.index, `The head in ${what} ${claim.index} is not one: ${messageOf(error)}`);
      return null;
    }
  }

  #tampered(index: number, message: string): void {
    this.#findings.add({ level: 'tampered', what: 'head_differs', message, index });
  }
}
