// One source's way into the ledger, and the promise that a position is confirmed only after it is durable.
import type { ControlRecord, Position, SourceOutput } from '../core/output.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import type { ByteWriter } from '../record/byte-writer.ts';
import { type ControlOrigin, controlRecordText } from './control-record.ts';
import { type PositionFiles, writePosition, writeState } from './positions.ts';

/** Position files are written at most this often; what the ledger holds is confirmed without them. */
const SAVE_MS = 1_000;
/** While records flow the file only bounds how much of the ledger a restart reads. */
const SAVE_BUSY_MS = 2_000;

/** A position with the index that must be durable before it may be confirmed. */
interface Mark {
  readonly position: Position;
  readonly index: number;
}

export interface SourceOutputOptions {
  readonly writer: LedgerWriter;
  readonly files: PositionFiles;
  readonly origin: ControlOrigin;
  /** Added to the details of `capture` start records: which program, with which configuration. */
  readonly about: Readonly<Record<string, unknown>>;
  now(): number;
}

/** Called when a position is durable; `saved` when it stands in the position file. */
export type Confirm = (position: Position, saved: boolean) => void;

export class PipelineOutput implements SourceOutput {
  readonly #options: SourceOutputOptions;
  readonly #writer: LedgerWriter;
  readonly #stopListening: () => void;
  #confirm: Confirm | null = null;
  /** Reached but not durable yet, oldest first. */
  #marks: Mark[] = [];
  /** The newest durable position that is not in the file yet. */
  #unsaved: Mark | null = null;
  /** Where an idle source stands; waits for the records before it. */
  #idle: Mark | null = null;
  /** Tells what records of before `index` say too. */
  #state: { readonly value: Readonly<Record<string, unknown>>; readonly index: number } | null = null;
  /** A save waits for the records that the state tells of. */
  #held = false;
  #savedAt = 0;
  /** A record of the stream was written since the last position was reached. */
  #wrote = false;
  #timer: NodeJS.Timeout | null = null;
  #error: ((error: unknown) => void) | null = null;

  constructor(options: SourceOutputOptions) {
    this.#options = options;
    this.#writer = options.writer;
    this.#stopListening = options.writer.onDurable((end) => this.#durable(end.next));
  }

  /** From now on positions are confirmed to this stream; one that failed is not told any more. */
  attach(confirm: Confirm | null, onError: (error: unknown) => void): void {
    this.#confirm = confirm;
    this.#error = onError;
    this.#wrote = false;
    if (confirm === null) {
      this.#marks = [];
      this.#idle = null;
      this.#unsaved = null;
      this.#held = false;
      this.#clearTimer();
    }
  }

  begin(): ByteWriter {
    return this.#writer.begin();
  }

  end(): void {
    this.#wrote = true;
    this.#writer.end();
  }

  abort(): void {
    this.#writer.abort();
  }

  get full(): boolean {
    return this.#writer.full;
  }

  drained(): Promise<void> {
    return this.#writer.drained();
  }

  reached(position: Position): void {
    // No record of the ledger tells this position (an empty transaction, one sent again): only the file can.
    if (!this.#wrote) {
      this.idle(position);
      return;
    }
    this.#wrote = false;
    const mark = { position, index: this.#writer.next };
    this.#idle = null;
    if (this.#writer.durable.next >= mark.index) this.#confirmable(mark);
    // Many transactions wait for one sync: only the last of those with the same index counts.
    else if (this.#marks.at(-1)?.index === mark.index) this.#marks[this.#marks.length - 1] = mark;
    else this.#marks.push(mark);
  }

  idle(position: Position): void {
    this.#idle = { position, index: this.#writer.next };
    if (this.#writer.durable.next >= this.#idle.index) this.#saveSoon(SAVE_MS);
  }

  remember(state: Readonly<Record<string, unknown>>): void {
    this.#state = { value: state, index: this.#writer.next };
  }

  control(record: ControlRecord): void {
    const { origin, now, about } = this.#options;
    const starts = record.kind === 'capture' && record.action === 'start';
    const full = starts ? { ...record, details: { ...about, ...record.details } } : record;
    const index = this.#writer.next;
    const out = this.#writer.begin();
    out.bytes(Buffer.from(controlRecordText(full, origin, index, now()), 'utf8'));
    this.#writer.end();
  }

  async settled(): Promise<void> {
    await this.#writer.flushed();
    this.#save();
  }

  close(): void {
    this.attach(null, () => undefined);
    this.#stopListening();
  }

  #durable(next: number): void {
    let last: Mark | null = null;
    let count = 0;
    for (const mark of this.#marks) {
      if (mark.index > next) break;
      last = mark;
      count++;
    }
    if (last !== null) {
      this.#marks.splice(0, count);
      this.#confirmable(last);
    }
    const due = this.#held && this.#state !== null && this.#state.index <= next;
    if (due || (this.#idle !== null && this.#idle.index <= next)) this.#saveSoon(SAVE_MS);
  }

  #confirmable(mark: Mark): void {
    this.#unsaved = mark;
    this.#confirm?.(mark.position, false);
    this.#saveSoon(SAVE_BUSY_MS);
  }

  #saveSoon(intervalMs: number): void {
    const due = Math.max(0, this.#savedAt + intervalMs - this.#options.now());
    if (this.#timer !== null) {
      if (intervalMs !== SAVE_MS) return;
      this.#clearTimer();
    }
    if (due === 0) this.#save();
    else this.#timer = setTimeout(() => this.#save(), due);
  }

  /**
   * Writes state and position, then confirms: in this order, so that nothing is confirmed that a restart would not know. What
   * the state tells has its record in the ledger: kept without it (a kill in between), it would never be recorded.
   */
  #save(): void {
    this.#clearTimer();
    this.#held = this.#state !== null && this.#state.index > this.#writer.durable.next;
    if (this.#held) return;
    const idle = this.#idle !== null && this.#idle.index <= this.#writer.durable.next ? this.#idle : null;
    const mark = idle ?? this.#unsaved;
    if (this.#confirm === null || this.#writer.failure !== null) return;
    try {
      if (this.#state !== null) writeState(this.#options.files, this.#state.value);
      this.#state = null;
      if (mark === null) return;
      writePosition(this.#options.files, mark);
    } catch (error) {
      this.#error?.(error);
      return;
    }
    this.#savedAt = this.#options.now();
    if (idle !== null) this.#idle = null;
    this.#unsaved = null;
    this.#confirm(mark.position, true);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
