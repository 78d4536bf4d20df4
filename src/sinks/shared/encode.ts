import type { RecordBatch } from '../../core/sink.ts';
import { type Format, mapperFor } from '../../record/mappings/index.ts';
import { parseRecord } from '../../record/parse.ts';

/** The lines of a batch in another format: JSON texts, each with a line feed. `native` are the batch's own bytes. */
export function encodeLines(
  batch: RecordBatch,
  format: Format,
): { readonly bytes: Buffer; readonly ends: Uint32Array } {
  const mapper = mapperFor(format);
  if (mapper === null) return batch;
  const texts: Buffer[] = [];
  const ends = new Uint32Array(batch.count);
  let size = 0;
  let start = 0;
  for (let i = 0; i < batch.count; i++) {
    const end = batch.ends[i]!;
    const text = Buffer.from(`${JSON.stringify(mapper(parseRecord(batch.bytes.subarray(start, end - 1))))}\n`);
    texts.push(text);
    ends[i] = size += text.length;
    start = end;
  }
  return { bytes: Buffer.concat(texts, size), ends };
}

/** How much longer typical records get in each format. */
const GROWTH: Readonly<Record<Format, number>> = { native: 1, ecs: 1.8, ocsf: 2.5, cloudevents: 1.6, debezium: 1.7 };

/** Bytes of records, as they stand in the ledger, that fit into a request of `body` bytes; a request that is too long all the same is halved. */
export function recordBytesFor(body: number, format: Format): number {
  return Math.floor(body / GROWTH[format]);
}

/** The lines as one JSON array. */
export function jsonArray({ bytes, ends }: { readonly bytes: Buffer; readonly ends: Uint32Array }): Buffer {
  const array = Buffer.allocUnsafe(bytes.length + 1);
  array[0] = 0x5b;
  bytes.copy(array, 1);
  for (const end of ends) array[end] = 0x2c;
  array[array.length - 1] = 0x5d;
  return array;
}
