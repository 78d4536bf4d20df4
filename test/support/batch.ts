import type { RecordBatch } from '../../src/core/sink.ts';

/** Lines (without line feeds) as the batch that a sink gets. */
export function batchOf(lines: readonly string[], first = 0): RecordBatch {
  const parts = lines.map((line) => Buffer.from(`${line}\n`));
  let size = 0;
  const ends = Uint32Array.from(parts, (part) => {
    size += part.length;
    return size;
  });
  return { first, count: lines.length, bytes: Buffer.concat(parts), ends };
}
