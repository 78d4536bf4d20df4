import type { LedgerReader } from '../core/ledger.ts';
import { type DataLayout, prepareDataDirectory } from './layout.ts';
import { DirectoryLock } from './lock.ts';
import { SegmentReader, writerTail } from './reader.ts';
import { recoverTail } from './recover.ts';
import { LedgerWriter } from './writer.ts';

export interface LedgerOptions {
  /** Size at which a segment is closed. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** Longest wait of a record for its group, in milliseconds. Default 2. */
  readonly groupMs?: number;
}

/** Small enough to be read whole at a start in under a second, large enough that a busy day is some hundred files. */
export const DEFAULT_SEGMENT_BYTES = 64 << 20;
export const DEFAULT_GROUP_MS = 2;

/** The ledger as its one writing process holds it. */
export interface OpenLedger {
  readonly layout: DataLayout;
  readonly writer: LedgerWriter;
  readonly reader: LedgerReader;
  /** Bytes of a torn write that were cut at the start; 0 after a clean end. */
  readonly torn: number;
  /** Makes everything durable and gives the directory free. Idempotent. @throws what the writer failed with. */
  close(): Promise<void>;
}

/**
 * Takes the directory, checks what is there and opens it for appending.
 * @throws AUD_LEDGER_LOCKED, AUD_LEDGER_CORRUPT, AUD_LEDGER_VERSION, AUD_LEDGER_WRITE
 */
export function openLedger(data: string, options: LedgerOptions = {}): OpenLedger {
  const layout = prepareDataDirectory(data);
  const lock = DirectoryLock.acquire(data);
  try {
    const tail = recoverTail(layout.segments);
    const writer = new LedgerWriter(layout.segments, tail, {
      segmentBytes: options.segmentBytes ?? DEFAULT_SEGMENT_BYTES,
      groupMs: options.groupMs ?? DEFAULT_GROUP_MS,
    });
    let closing: Promise<void> | null = null;
    return {
      layout,
      writer,
      reader: new SegmentReader(layout.segments, writerTail(writer)),
      torn: tail.torn,
      close() {
        closing ??= writer.close().finally(() => lock.release());
        return closing;
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}
