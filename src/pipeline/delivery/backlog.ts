import type { LedgerCursor, LedgerReader } from '../../core/ledger.ts';
import { readHead } from '../../record/head.ts';

/** What of the ledger a sink has not delivered. */
export interface Backlog {
  readonly records: number;
  /** Since when the oldest of them waits: the time between its capture and `now`, in seconds. */
  readonly seconds: number;
}

/** What lies behind a sink's cursor, by the ledger itself: true also while the sink hangs, or nothing runs. */
export async function backlogBehind(cursor: LedgerCursor, reader: LedgerReader, now: number): Promise<Backlog> {
  const records = Math.max(0, reader.end - cursor.index);
  if (records === 0) return { records: 0, seconds: 0 };
  const oldest = cursor.index < reader.start ? { index: reader.start } : cursor;
  for await (const { bytes, ends } of reader.read(oldest, { to: oldest.index + 1, batchRecords: 1 })) {
    const captured = Date.parse(readHead(bytes, 0, ends[0]!).captured);
    return { records, seconds: Math.max(0, (now - captured) / 1000) };
  }
  return { records, seconds: 0 };
}
