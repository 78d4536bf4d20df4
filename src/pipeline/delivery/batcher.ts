import type { LedgerBatch, LedgerCursor } from '../../core/ledger.ts';
import { type Consignment, indexAt, joinParcels, type Parcel, sliceParcel } from './parcel.ts';

/** What one request may hold. */
export interface BatchBounds {
  readonly records: number;
  /** Soft: a single larger record comes alone. */
  readonly bytes: number;
  /** How long a record may wait for others, in milliseconds. */
  readonly waitMs: number;
}

/** Makes what is sent out of what stands in the ledger; null when no record of the batch is sent. */
export type Shape = (batch: LedgerBatch) => Parcel | null;

/** A parcel this full is not worth waiting or copying for the rest. */
const FULL = 0.9;

interface Open {
  readonly pieces: Parcel[];
  records: number;
  bytes: number;
}

/**
 * Groups the ledger's records into parcels by number, bytes and age. One chunk is read ahead at most, so memory is bounded
 * by two parcels. Not for concurrent use: one `next` at a time.
 */
export class Batcher {
  readonly #chunks: AsyncIterator<LedgerBatch>;
  readonly #shape: Shape;
  readonly #bounds: BatchBounds;
  #pending: Promise<IteratorResult<LedgerBatch>> | null = null;
  /** The rest of a chunk that did not fit, with the cursor behind all of it. */
  #carry: { parcel: Parcel; next: LedgerCursor } | null = null;

  constructor(chunks: AsyncIterable<LedgerBatch>, shape: Shape, bounds: BatchBounds) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#shape = shape;
    this.#bounds = bounds;
  }

  /** The next parcel in the order of the ledger, or null at the end of what is read. */
  async next(): Promise<Consignment | null> {
    const open: Open = { pieces: [], records: 0, bytes: 0 };
    let cursor: LedgerCursor | null = null;
    let deadline = 0;
    for (;;) {
      const chunk = this.#carry ?? (await this.#pull(open.records === 0 ? null : deadline));
      this.#carry = null;
      if (chunk === null || chunk === 'late') return cursor === null ? null : this.#seal(open, cursor);
      if (chunk.parcel === null) {
        cursor = chunk.next;
        if (open.records === 0) return { parcel: null, next: cursor };
        continue;
      }
      if (open.records === 0) deadline = performance.now() + this.#bounds.waitMs;
      const taken = this.#take(open, chunk.parcel);
      if (taken < chunk.parcel.count) {
        const rest = sliceParcel(chunk.parcel, taken, chunk.parcel.count);
        this.#carry = { parcel: rest, next: chunk.next };
        return this.#seal(open, { index: indexAt(rest, 0) });
      }
      cursor = chunk.next;
      if (this.#isFull(open)) return this.#seal(open, cursor);
    }
  }

  /** Stops reading. */
  async close(): Promise<void> {
    await this.#pending?.catch(() => undefined);
    await this.#chunks.return?.();
  }

  /** The next chunk of the ledger, null at its end, 'late' when none came before the deadline. */
  async #pull(deadline: number | null): Promise<{ parcel: Parcel | null; next: LedgerCursor } | null | 'late'> {
    this.#pending ??= this.#chunks.next();
    const result = deadline === null ? await this.#pending : await within(this.#pending, deadline - performance.now());
    if (result === 'late') return 'late';
    this.#pending = null;
    if (result.done === true) return null;
    const { count, next } = result.value;
    // A batch of nothing only moves the cursor: over what retention removed.
    return { parcel: count === 0 ? null : this.#shape(result.value), next };
  }

  /** Takes records from the front as far as they fit; at least one into an empty parcel. */
  #take(open: Open, parcel: Parcel): number {
    const records = Math.min(parcel.count, this.#bounds.records - open.records);
    const bytes = this.#bounds.bytes - open.bytes;
    let count = records;
    if (parcel.ends[records - 1]! > bytes) {
      count = 0;
      while (count < records && parcel.ends[count]! <= bytes) count++;
    }
    if (count === 0 && open.records === 0) count = 1;
    // Parts of one record stay together: the cursor can only stand between records.
    if (parcel.indexes !== null) count = wholeRecords(parcel, count, open.records === 0);
    if (count === 0) return 0;
    const piece = sliceParcel(parcel, 0, count);
    open.pieces.push(piece);
    open.records += count;
    open.bytes += piece.bytes.length;
    return count;
  }

  #isFull(open: Open): boolean {
    return open.records >= this.#bounds.records || open.bytes >= this.#bounds.bytes * FULL;
  }

  #seal(open: Open, next: LedgerCursor): Consignment {
    return { parcel: open.records === 0 ? null : joinParcels(open.pieces), next };
  }
}

/** Moves the cut after `count` to a place between two records: back, or forward when that would leave nothing. */
function wholeRecords(parcel: Parcel, count: number, atLeastOne: boolean): number {
  const inside = (at: number) => at > 0 && at < parcel.count && indexAt(parcel, at - 1) === indexAt(parcel, at);
  let back = count;
  while (inside(back)) back--;
  if (back > 0 || !atLeastOne) return back;
  let forward = count;
  while (inside(forward)) forward++;
  return forward;
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms), 'late');
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
