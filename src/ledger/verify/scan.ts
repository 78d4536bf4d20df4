// What verify reads of each line besides its hash: place in the source's log, and records about the ledger itself.
import { readHead } from '../../record/head.ts';
import { type CaptureEvent, type Disorder, follows, type Place, parsePosition, type StreamRun } from './positions.ts';

const ID = Buffer.from(',"id":"');
const KIND = Buffer.from('","kind":"ch');
const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
/** The front of a record up to `action`; longer ones are parsed whole. */
const FRONT_BYTES = 4096;
const ACTION = Buffer.from('},"action":"');

/** A `head` record, or the head that a `prune` record names. */
export interface HeadClaim {
  readonly kind: 'head';
  readonly index: number;
  readonly noteText: string;
}

export interface PruneClaim {
  readonly kind: 'prune';
  readonly index: number;
  readonly from: number;
  readonly to: number;
  readonly firsts: readonly number[];
  readonly noteText: string;
}

export interface KeyClaim {
  readonly kind: 'key_add' | 'key_retire';
  readonly index: number;
  readonly vkey: string;
}

export type ScanEvent =
  | StreamRun
  | CaptureEvent
  | HeadClaim
  | PruneClaim
  | KeyClaim
  | (Disorder & { kind: 'disorder' });

/** Follows the lines of one segment. Made for speed: most lines cost a look at their id. */
export class LineScan {
  readonly events: ScanEvent[] = [];
  /** Open run of each source. */
  readonly #runs = new Map<string, StreamRun>();
  #run: StreamRun | null = null;
  /** `source:position` of the line before, as bytes; and its source. */
  #prefix: Uint8Array = new Uint8Array(0);
  #sourceBytes: Uint8Array = new Uint8Array(0);
  #source = '';

  /** Looks at the line `bytes[start, end)`; its `index` was read up to `at`. */
  line(bytes: Buffer, start: number, end: number, at: number, index: number): void {
    const idStart = at + ID.length;
    if (matches(bytes, at, ID)) {
      const idEnd = endOfId(bytes, idStart, end);
      if (idEnd !== -1 && matches(bytes, idEnd, KIND)) {
        const colon = lastColon(bytes, idStart, idEnd);
        const seq = decimal(bytes, colon + 1, idEnd);
        if (seq !== -1 && colon > idStart) {
          this.#change(bytes, idStart, colon, seq, index);
          return;
        }
      }
    }
    this.#slow(bytes, start, end, index);
  }

  #change(bytes: Buffer, idStart: number, colon: number, seq: number, index: number): void {
    const run = this.#run;
    if (run !== null && samePrefix(bytes, idStart, colon, this.#prefix)) {
      const { high, low, text } = run.last;
      this.#extend(run, { high, low, seq, text }, index);
      return;
    }
    const split = lastColon(bytes, idStart, colon);
    if (split === -1) return;
    const text = bytes.toString('latin1', split + 1, colon);
    const position = parsePosition(text);
    if (position === null) return;
    this.#prefix = new Uint8Array(bytes.subarray(idStart, colon));
    const { high, low } = position;
    this.#place(this.#sourceAt(bytes, idStart, split), { high, low, seq, text }, index, false);
  }

  /** The source's name, which is most often that of the line before. */
  #sourceAt(bytes: Buffer, from: number, to: number): string {
    if (!samePrefix(bytes, from, to, this.#sourceBytes)) {
      this.#sourceBytes = new Uint8Array(bytes.subarray(from, to));
      this.#source = bytes.toString('utf8', from, to);
    }
    return this.#source;
  }

  #place(source: string, place: Place, index: number, shared: boolean): void {
    const run = this.#runs.get(source);
    if (run === undefined) {
      const made: StreamRun = {
        kind: 'run',
        source,
        firstIndex: index,
        lastIndex: index,
        first: place,
        last: place,
        count: 1,
      };
      this.#runs.set(source, made);
      this.events.push(made);
      this.#run = made;
      return;
    }
    this.#run = run;
    this.#extend(run, place, index, shared);
  }

  #extend(run: StreamRun, place: Place, index: number, shared = false): void {
    if (!shared && !follows(run.last, place)) {
      this.events.push({
        kind: 'disorder',
        source: run.source,
        index,
        place: `${place.text}:${place.seq}`,
        before: `${run.last.text}:${run.last.seq}`,
      });
    }
    run.last = place;
    run.lastIndex = index;
    run.count++;
  }

  /** Records that are not plain changes are few: they may cost a parse. */
  #slow(bytes: Buffer, start: number, end: number, index: number): void {
    const kind = readHead(bytes, start, end).kind;
    if (kind === 'change' || kind === 'schema') this.#streamRecord(bytes, start, end, index);
    else if (kind === 'capture' || kind === 'gap' || kind === 'head' || kind === 'policy') {
      this.#control(JSON.parse(bytes.toString('utf8', start, end)) as ParsedControl, index);
    }
  }

  #streamRecord(bytes: Buffer, start: number, end: number, index: number): void {
    const stop = bytes.subarray(start, Math.min(end, start + FRONT_BYTES)).indexOf(ACTION);
    const text = stop === -1 ? bytes.toString('utf8', start, end) : `${bytes.toString('utf8', start, start + stop)}}}`;
    const { source } = JSON.parse(text) as { source: Record<string, unknown> };
    const { name, seq, lsn, ts, part } = source;
    const position = parsePosition(String(lsn ?? ts));
    if (typeof seq !== 'number' || position === null) return;
    const place = { ...position, seq, text: String(lsn ?? ts) };
    this.#prefix = new Uint8Array(0);
    // The part in front of a record shares its place: it is no step of its own.
    if (part !== undefined) return;
    this.#place(String(name), place, index, false);
  }

  #control(record: ParsedControl, index: number): void {
    const details = record.details ?? {};
    const text = (value: unknown) => (typeof value === 'string' ? value : null);
    if (record.kind === 'head' || record.kind === 'policy') {
      this.#ledgerClaim(record, details, index);
      return;
    }
    const source = record.source.name;
    // What comes after is judged by this record: the run ends here.
    this.#runs.delete(source);
    this.#run = null;
    this.events.push({
      kind: record.kind,
      action: record.action,
      source,
      index,
      from: text(details['from']),
      to: text(details['to']),
      previous: text(details['previous']),
      cause: text(details['cause']),
      resets: details['lineage_reset'] === true,
    });
  }

  #ledgerClaim(record: ParsedControl, details: Readonly<Record<string, unknown>>, index: number): void {
    const { action } = record;
    if (record.kind === 'policy' && action === 'prune') {
      const names = details['segments'] as string[];
      this.events.push({
        kind: 'prune',
        index,
        from: Number(details['from']),
        to: Number(details['to']),
        firsts: names.map((name) => Number.parseInt(name, 10)),
        noteText: String(details['checkpoint']),
      });
    }
    if (record.kind !== 'head') return;
    if (action === 'key_add' || action === 'key_retire') {
      this.events.push({ kind: action, index, vkey: String(details['vkey']) });
    }
    if (action !== 'sign') return;
    for (const note of [details['checkpoint'], details['witnessed']]) {
      if (typeof note === 'string') this.events.push({ kind: 'head', index, noteText: note });
    }
  }
}

interface ParsedControl {
  readonly kind: 'capture' | 'gap' | 'head' | 'policy';
  readonly action: string;
  readonly source: { readonly name: string };
  readonly details?: Readonly<Record<string, unknown>>;
}

function matches(bytes: Buffer, at: number, wanted: Buffer): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

/** The closing quote of an id without escapes, or -1. */
function endOfId(bytes: Buffer, from: number, end: number): number {
  for (let at = from; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) return at;
    if (byte === BACKSLASH) return -1;
  }
  return -1;
}

/** The last colon in `bytes[from, to)`, or -1. */
function lastColon(bytes: Buffer, from: number, to: number): number {
  for (let at = to - 1; at >= from; at--) if (bytes[at] === COLON) return at;
  return -1;
}

function decimal(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return from === to ? -1 : value;
}

function samePrefix(bytes: Buffer, from: number, to: number, prefix: Uint8Array): boolean {
  if (to - from !== prefix.length) return false;
  for (let i = prefix.length - 1; i >= 0; i--) if (bytes[from + i] !== prefix[i]) return false;
  return true;
}
