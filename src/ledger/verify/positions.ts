// Continuity of a source: what its records claim of their places in the log, checked against each other.

const COLON = 0x3a;

/** PostgreSQL's LSN as its two halves, or MongoDB's seconds and increment. */
export interface Position {
  readonly high: number;
  readonly low: number;
  /** An LSN: hexadecimal numbers with a slash between them, and not decimal ones with a dot. */
  readonly lsn: boolean;
}

/** Place of a change in its source's log: position of its commit, and ordinal in it. */
export interface Place extends Position {
  readonly seq: number;
}

/** `0/1A2B3C8` or `1795573797.18` as two numbers, or null when it is neither (a resume token, say). */
export function parsePosition(text: string): Position | null {
  const place = { high: 0, low: 0, lsn: text.includes('/'), seq: 0 };
  return readPosition(Buffer.from(text, 'latin1'), 0, place) === text.length ? place : null;
}

export function positionText({ high, low, lsn }: Position): string {
  return lsn ? `${high.toString(16)}/${low.toString(16)}`.toUpperCase() : `${high}.${low}`;
}

const SLASH = 0x2f;
const DOT = 0x2e;
/** What each byte stands for as a digit; 99 when it is none. */
const DIGITS = Uint8Array.from({ length: 256 }, (_, byte) => {
  const value = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(value) ? 99 : value;
});

/** A place whose numbers are replaced: of the millions in a ledger none needs an object of its own. */
export type PlaceRoom = { -readonly [Key in keyof Place]: Place[Key] };

/** Reads the position at `bytes[from]`, of the form that `into.lsn` says, into `into`. The offset behind it, or -1. */
export function readPosition(bytes: Uint8Array, from: number, into: PlaceRoom): number {
  const base = into.lsn ? 16 : 10;
  const most = into.lsn ? 8 : 10;
  const divider = endOfNumber(bytes, from, base, most);
  if (divider === -1 || bytes[divider] !== (into.lsn ? SLASH : DOT)) return -1;
  const end = endOfNumber(bytes, divider + 1, base, most);
  if (end === -1) return -1;
  into.high = numberIn(bytes, from, divider, base);
  into.low = numberIn(bytes, divider + 1, end, base);
  return end;
}

/** Reads `<position>:<ordinal>` as `readPosition` does. */
export function readPlace(bytes: Uint8Array, from: number, into: PlaceRoom): number {
  const colon = readPosition(bytes, from, into);
  if (colon === -1 || bytes[colon] !== COLON) return -1;
  const end = endOfNumber(bytes, colon + 1, 10, 15);
  if (end !== -1) into.seq = numberIn(bytes, colon + 1, end, 10);
  return end;
}

/** Where the number at `bytes[from]` ends; -1 when there is none, or one of more digits than `most`. */
function endOfNumber(bytes: Uint8Array, from: number, base: number, most: number): number {
  let at = from;
  while (DIGITS[bytes[at]!]! < base) at++;
  return at === from || at - from > most ? -1 : at;
}

function numberIn(bytes: Uint8Array, from: number, to: number, base: number): number {
  let value = 0;
  for (let at = from; at < to; at++) value = value * base + DIGITS[bytes[at]!]!;
  return value;
}

function comparePosition(a: Position, b: Position): number {
  return a.high - b.high || a.low - b.low;
}

/** Changes of one source with nothing said about the capture between them. */
export interface StreamRun {
  readonly kind: 'run';
  readonly source: string;
  readonly firstIndex: number;
  lastIndex: number;
  readonly first: Place;
  last: Place;
  count: number;
}

/** A record about the capture of a source. */
export interface CaptureEvent {
  readonly kind: 'capture' | 'gap';
  readonly action: string;
  readonly source: string;
  readonly index: number;
  readonly from: string | null;
  readonly to: string | null;
  readonly previous: string | null;
  readonly cause: string | null;
  readonly resets: boolean;
}

/** A change that does not stand behind the one before it. */
export interface Disorder {
  readonly source: string;
  readonly index: number;
  readonly place: string;
  readonly before: string;
}

/** True when `next` may follow `last`. The same place twice is for records that share one (`part`, see the format). */
export function follows(last: Place, next: Place): boolean {
  return (comparePosition(last, next) || last.seq - next.seq) < 0;
}

export interface GapReport {
  readonly index: number;
  readonly source: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly cause: string | null;
}

export interface SourceReport {
  name: string;
  changes: number;
  first: string | null;
  last: string | null;
  starts: number;
  stops: number;
  gaps: number;
}

interface SourceState {
  readonly report: SourceReport;
  last: Place | null;
  /** Up to where the capture says it saw everything. */
  end: Position | null;
  /** A gap since `end`. */
  gap: boolean;
  /** A start that only a gap right behind it would explain. */
  unexplained: CaptureEvent | null;
}

/** Joins what was found in the segments, which must come in order. */
export class ContinuityCheck {
  readonly gaps: GapReport[] = [];
  readonly #sources = new Map<string, SourceState>();
  readonly #report: (index: number, message: string) => void;
  readonly #only: string | null;

  /** `report` is called for each contradiction; `only` restricts the check to one source. */
  constructor(report: (index: number, message: string) => void, only: string | null) {
    this.#report = report;
    this.#only = only;
  }

  get sources(): readonly SourceReport[] {
    return [...this.#sources.values()].map(({ report }) => report);
  }

  disorder({ source, index, place, before }: Disorder): void {
    if (this.#only !== null && source !== this.#only) return;
    this.#report(index, `${source} ${place} stands behind ${before}, so the order of commits is broken`);
  }

  run(run: StreamRun): void {
    if (this.#only !== null && run.source !== this.#only) return;
    const state = this.#state(run.source);
    this.#settle(state);
    if (state.last !== null && !follows(state.last, run.first)) {
      this.disorder({
        source: run.source,
        index: run.firstIndex,
        place: positionText(run.first),
        before: positionText(state.last),
      });
    }
    state.last = run.last;
    this.#reached(state, run.last);
    state.report.changes += run.count;
    state.report.first ??= positionText(run.first);
    state.report.last = positionText(run.last);
  }

  event(event: CaptureEvent): void {
    if (this.#only !== null && event.source !== this.#only) return;
    const state = this.#state(event.source);
    if (event.kind === 'gap') {
      this.#gap(state, event);
    } else if (event.action === 'start') {
      state.report.starts++;
      this.#start(state, event);
    } else if (event.action === 'stop' || event.action === 'progress') {
      if (event.action === 'stop') state.report.stops++;
      this.#settle(state);
      this.#reached(state, positionOf(event.to));
    }
  }

  /** After the last segment. */
  finish(): void {
    for (const state of this.#sources.values()) this.#settle(state);
  }

  #gap(state: SourceState, { index, source, from, to, cause, resets }: CaptureEvent): void {
    state.report.gaps++;
    this.gaps.push({ index, source, from, to, cause });
    state.gap = true;
    state.unexplained = null;
    if (resets) {
      state.last = null;
      state.end = null;
    }
  }

  /** A capture goes on where the last one ended, or before, or where it says that nothing was pending in between. */
  #start(state: SourceState, event: CaptureEvent): void {
    this.#settle(state);
    const from = positionOf(event.from);
    const previous = positionOf(event.previous);
    const known = state.end;
    if (from !== null && known !== null && !state.gap) {
      const joined = comparePosition(from, known) <= 0 || (previous !== null && comparePosition(from, previous) <= 0);
      if (!joined) state.unexplained = event;
    }
    state.gap = false;
    this.#reached(state, from);
  }

  #settle(state: SourceState): void {
    const event = state.unexplained;
    if (event === null) return;
    state.unexplained = null;
    this.#report(
      event.index,
      `capture of ${event.source} starts at ${event.from}, behind where the one before it ended, and no gap record says so`,
    );
  }

  #reached(state: SourceState, position: Position | null): void {
    if (position === null) return;
    if (state.end === null || comparePosition(state.end, position) < 0) state.end = position;
  }

  #state(name: string): SourceState {
    let state = this.#sources.get(name);
    if (state === undefined) {
      const report = { name, changes: 0, first: null, last: null, starts: 0, stops: 0, gaps: 0 };
      state = { report, last: null, end: null, gap: false, unexplained: null };
      this.#sources.set(name, state);
    }
    return state;
  }
}

function positionOf(text: string | null): Position | null {
  return text === null ? null : parsePosition(text);
}
