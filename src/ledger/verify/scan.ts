// What verify reads of each line besides its hash: place in the source's log, and records about the ledger itself.
import { readHead } from '../../record/head.ts';
import {
  type CaptureEvent,
  type Disorder,
  follows,
  type Place,
  type PlaceRoom,
  parsePosition,
  positionText,
  readPlace,
  type StreamRun,
} from './positions.ts';

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

/** A run whose end is still moved on. */
type OpenRun = StreamRun & { last: PlaceRoom };

/** Follows the lines of one segment. Made for speed: most lines cost a look at their id (bench/verify.ts). */
export class LineScan {
  readonly events: ScanEvent[] = [];
  /** Open run of each source. */
  readonly #runs = new Map<string, OpenRun>();
  /** Run of the line before, and its source as bytes. */
  #run: OpenRun | null = null;
  #source: Uint8Array = new Uint8Array(0);
  /** Where the next place is read to; no run holds it. */
  #room: PlaceRoom = { high: 0, low: 0, seq: 0, lsn: true };

  /** Looks at the line `bytes[start, end)`; its `index` was read up to `at`. */
  line(bytes: Buffer, start: number, end: number, at: number, index: number): void {
    if (!this.#goesOn(bytes, at, index) && !this.#change(bytes, at, end, index)) this.#slow(bytes, start, end, index);
  }

  /** Takes a change of the source that the line before was of. False: it is none, and nothing was taken. */
  #goesOn(bytes: Buffer, at: number, index: number): boolean {
    const run = this.#run;
    if (run === null || !matches(bytes, at, ID)) return false;
    const source = this.#source;
    const from = at + ID.length;
    const colon = from + source.length;
    if (bytes[colon] !== COLON || !matches(bytes, from, source)) return false;
    const place = this.#room;
    place.lsn = run.last.lsn;
    const idEnd = readPlace(bytes, colon + 1, place);
    if (idEnd === -1 || !matches(bytes, idEnd, KIND)) return false;
    this.#room = run.last;
    this.#extend(run, place, index);
    return true;
  }

  /** Takes a change of any source whose id is plain. False as above. */
  #change(bytes: Buffer, at: number, end: number, index: number): boolean {
    const from = at + ID.length;
    if (!matches(bytes, at, ID)) return false;
    const idEnd = endOfId(bytes, from, end);
    if (idEnd === -1 || !matches(bytes, idEnd, KIND)) return false;
    const split = lastColon(bytes, from, lastColon(bytes, from, idEnd));
    if (split === -1) return false;
    const place = { high: 0, low: 0, seq: 0, lsn: bytes.subarray(split, idEnd).includes('/') };
    // A position that cannot be told from its text, such as a resume token, is read from the record.
    if (readPlace(bytes, split + 1, place) !== idEnd) return false;
    this.#run = this.#place(bytes.toString('utf8', from, split), place, index);
    this.#source = new Uint8Array(bytes.subarray(from, split));
    return true;
  }

  #place(source: string, place: PlaceRoom, index: number): OpenRun {
    let run = this.#runs.get(source);
    if (run !== undefined) this.#extend(run, place, index);
    else {
      run = { kind: 'run', source, firstIndex: index, lastIndex: index, first: { ...place }, last: place, count: 1 };
      this.#runs.set(source, run);
      this.events.push(run);
    }
    return run;
  }

  #extend(run: OpenRun, place: PlaceRoom, index: number): void {
    if (!follows(run.last, place)) {
      this.events.push({
        kind: 'disorder',
        source: run.source,
        index,
        place: placeText(place),
        before: placeText(run.last),
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
    // The part in front of a record shares its place: it is no step of its own.
    if (part === undefined) this.#place(String(name), { ...position, seq }, index);
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

function matches(bytes: Buffer, at: number, wanted: Uint8Array): boolean {
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

function placeText(place: Place): string {
  return `${positionText(place)}:${place.seq}`;
}
