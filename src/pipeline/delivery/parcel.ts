import type { LedgerBatch, LedgerCursor } from '../../core/ledger.ts';
import type { RecordBatch } from '../../core/sink.ts';

/** Records on their way to a sink. After a filter or a split they are not one a ledger index any more. */
export interface Parcel extends RecordBatch {
  /** Ledger index of each record; null: `first + i`. */
  readonly indexes: Float64Array | null;
}

/** A parcel with the cursor behind the last ledger record it covers; `parcel` is null when none of them is sent. */
export interface Consignment {
  readonly parcel: Parcel | null;
  readonly next: LedgerCursor;
}

/** The ledger index of the parcel's record `at`. */
export function indexAt(parcel: Parcel, at: number): number {
  return parcel.indexes === null ? parcel.first + at : parcel.indexes[at]!;
}

/** The line of record `at`, with its line feed; a view. */
export function lineAt(batch: RecordBatch, at: number): Buffer {
  return batch.bytes.subarray(at === 0 ? 0 : batch.ends[at - 1]!, batch.ends[at]!);
}

/** The records `[from, to)` of a parcel; shares its bytes. */
export function sliceParcel(parcel: Parcel, from: number, to: number): Parcel {
  if (from === 0 && to === parcel.count) return parcel;
  const start = from === 0 ? 0 : parcel.ends[from - 1]!;
  const ends = parcel.ends.subarray(from, to);
  return {
    first: indexAt(parcel, from),
    count: to - from,
    bytes: parcel.bytes.subarray(start, parcel.ends[to - 1]!),
    ends: start === 0 ? ends : ends.map((end) => end - start),
    indexes: parcel.indexes === null ? null : parcel.indexes.subarray(from, to),
  };
}

/** The records at the given places (ascending, at least one), copied. */
export function pickRecords(parcel: Parcel, places: readonly number[]): Parcel {
  return parcelOf(
    places.map((at) => lineAt(parcel, at)),
    places.map((at) => indexAt(parcel, at)),
  );
}

/** A parcel of lines (at least one, each with its line feed) with the ledger index of each. */
export function parcelOf(lines: readonly Uint8Array[], indexes: readonly number[]): Parcel {
  const ends = new Uint32Array(lines.length);
  let size = 0;
  for (let i = 0; i < lines.length; i++) ends[i] = size += lines[i]!.length;
  return {
    first: indexes[0]!,
    count: lines.length,
    bytes: lines.length === 1 ? asBuffer(lines[0]!) : Buffer.concat(lines, size),
    ends,
    indexes: Float64Array.from(indexes),
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Several parcels as one; a single one is returned as it is. */
export function joinParcels(parcels: readonly Parcel[]): Parcel {
  if (parcels.length === 1) return parcels[0]!;
  const count = parcels.reduce((sum, parcel) => sum + parcel.count, 0);
  const bytes = Buffer.concat(parcels.map((parcel) => parcel.bytes));
  const ends = new Uint32Array(count);
  const indexes = new Float64Array(count);
  let at = 0;
  let base = 0;
  for (const parcel of parcels) {
    for (let i = 0; i < parcel.count; i++, at++) {
      ends[at] = base + parcel.ends[i]!;
      indexes[at] = indexAt(parcel, i);
    }
    base += parcel.bytes.length;
  }
  return { first: parcels[0]!.first, count, bytes, ends, indexes };
}

/** Records of the ledger as they stand there. */
export function parcelFrom(batch: LedgerBatch): Parcel {
  return { first: batch.first, count: batch.count, bytes: batch.bytes, ends: batch.ends, indexes: null };
}
