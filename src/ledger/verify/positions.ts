// Continuity of a source: what its records claim of their places in the log, checked against each other.

/** Place of a change in its source's log: PostgreSQL's commit LSN as two halves, MongoDB's seconds and increment; ordinal. */
export interface Place {
  readonly high: number;
  readonly low: number;
  readonly seq: number;
  readonly text: string;
}

/** `0/1A2B3C8` or `1795573797.18` as two numbers, or null when it is neither (a resume token, say). */
export function parsePosition(text: string): { high: number; low: number } | null {
  const slash = text.indexOf('/');
  const divider = slash === -1 ? text.indexOf('.') : slash;
  if (divider === -1) return null;
  const [base, digits] = slash === -1 ? [10, 10] : [16, 8];
  const high = parseDigits(text, 0, divider, base, digits);
  const low = parseDigits(text, divider + 1, text.length, base, digits);
  return high === -1 || low === -1 ? null : { high, low };
}

/** The number that `text[from, to)` is in the base, in `most` digits at most; -1 when it is none. */
function parseDigits(text: string, from: number, to: number, base: number, most: number): number {
  if (from === to || to - from > most) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = digitOf(text.charCodeAt(at));
    if (digit >= base) return -1;
    value = value * base + digit;
  }
  return value;
}

/** What a hexadecimal digit stands for; more than any digit when it is none. */
function digitOf(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : Number.POSITIVE_INFINITY;
}

function comparePosition(a: { high: number; low: number }, b: { high: number; low: number }): number {
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
  end: { high: number; low: number; text: string } | null;
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
      this.disorder({ source: run.source, index: run.firstIndex, place: run.first.text, before: state.last.text });
    }
    state.last = run.last;
    this.#reached(state, run.last.text);
    state.report.changes += run.count;
    state.report.first ??= run.first.text;
    state.report.last = run.last.text;
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
      if (event.to !== null) this.#reached(state, event.to);
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
    const from = event.from === null ? null : parsePosition(event.from);
    const previous = event.previous === null ? null : parsePosition(event.previous);
    const known = state.end;
    if (from !== null && known !== null && !state.gap) {
      const joined = comparePosition(from, known) <= 0 || (previous !== null && comparePosition(from, previous) <= 0);
      if (!joined) state.unexplained = event;
    }
    state.gap = false;
    if (event.from !== null) this.#reached(state, event.from);
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

  #reached(state: SourceState, text: string): void {
    const position = parsePosition(text);
    if (position === null) return;
    if (state.end === null || comparePosition(state.end, position) < 0) state.end = { ...position, text };
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
