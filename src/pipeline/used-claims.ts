// Which signed claims a source has used: read from the ledger at a start, so that a copy of one is found across restarts too.
import type { ActorOptions } from '../actor/options.ts';
import { CLAIM_ID_LENGTH, claimMemorySeconds, type UsedClaim } from '../actor/verifier.ts';
import { listSegments } from '../ledger/layout.ts';
import { type LineBlock, readLines } from '../ledger/lines.ts';
import { readHead } from '../record/head.ts';
import { parseRecord } from '../record/parse.ts';

const CLAIM = Buffer.from('"claim":"');
/** `source` stands within. */
const HEAD_BYTES = 512;

/**
 * Claims that changes of the source used so shortly before its last one that they may still be alive, oldest first. Reads the
 * newest segments only, as far back as a claim may live; none when no key could have signed one.
 * @throws AUD_LEDGER_CORRUPT, AUD_LEDGER_MISSING
 */
export function readUsedClaims(segments: string, source: string, options: ActorOptions['claims']): UsedClaim[] {
  if (options.keys.length === 0) return [];
  const life = claimMemorySeconds(options) * 1000;
  const found: UsedClaim[][] = [];
  let last: number | null = null;
  for (const { path } of listSegments(segments).reverse()) {
    const scan = new SegmentScan(source);
    for (const block of readLines(path, 0)) scan.block(block);
    found.push([...scan.claims.values()]);
    last ??= scan.last;
    if (last !== null && scan.first !== null && scan.first < last - life) break;
  }
  return found.reverse().flat();
}

class SegmentScan {
  readonly claims = new Map<string, UsedClaim>();
  readonly #source: string;
  /** Commit times of the first and the last change of the source, in milliseconds since 1970. */
  first: number | null = null;
  last: number | null = null;
  /** How the last claim's transaction stands in the head of its records. */
  #place = Buffer.alloc(0);

  constructor(source: string) {
    this.#source = source;
  }

  block({ bytes, ends }: LineBlock): void {
    if (this.first === null) this.first = this.#timeOf(bytes, ends, 0, 1);
    this.last = this.#timeOf(bytes, ends, ends.length - 1, -1) ?? this.last;
    let line = 0;
    for (let at = bytes.indexOf(CLAIM); at !== -1; at = bytes.indexOf(CLAIM, ends[line]!)) {
      while (ends[line]! <= at) line++;
      this.#line(bytes, line === 0 ? 0 : ends[line - 1]!, ends[line]! - 1, at);
      if (line === ends.length - 1) return;
    }
  }

  /** Commit time of the first change of the source, looking from line `from` on in steps of `step`. */
  #timeOf(bytes: Buffer, ends: Uint32Array, from: number, step: 1 | -1): number | null {
    for (let line = from; line >= 0 && line < ends.length; line += step) {
      const head = readHead(bytes, line === 0 ? 0 : ends[line - 1]!, ends[line]! - 1);
      if (head.source === this.#source && head.kind === 'change') return Date.parse(head.time);
    }
    return null;
  }

  /** A line with the text of the field at `at`: in its actor, or in a value of the row. */
  #line(bytes: Buffer, start: number, end: number, at: number): void {
    const text = bytes.toString('latin1', at + CLAIM.length, at + CLAIM.length + CLAIM_ID_LENGTH);
    // Another change of a transaction that was met before.
    if (this.claims.has(text) && bytes.subarray(start, Math.min(end, start + HEAD_BYTES)).includes(this.#place)) return;
    const { source, kind, time, actor } = parseRecord(bytes.subarray(start, end));
    const id = actor?.claim;
    if (id === undefined || kind !== 'change' || source.name !== this.#source || this.claims.has(id)) return;
    // Where the engine names no transaction its place in the log is its name, as for the connector.
    const tx = source.tx ?? source.ts ?? '';
    this.#place = Buffer.from(source.tx === undefined ? `"ts":"${tx}"` : `"tx":"${tx}"`);
    this.claims.set(id, { id, tx, timeMs: Date.parse(time) });
  }
}
