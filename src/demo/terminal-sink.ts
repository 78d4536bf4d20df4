import { type Palette, prettyRecord } from '../cli/pretty.ts';
import type { RecordBatch, Sink, SinkLimits } from '../core/sink.ts';
import type { AuditRecord } from '../record/schema.ts';

const LIMITS: SinkLimits = {
  maxBatchRecords: null,
  maxBatchBytes: null,
  maxRecordBytes: null,
  maxAgeMs: 0,
  maxInFlight: 1,
};

/** Records for a person at a terminal. */
export function createTerminalSink(out: NodeJS.WritableStream, palette: Palette): Sink {
  return {
    limits: LIMITS,
    check: async () => ({ items: [{ name: 'terminal', level: 'ok', detail: 'open' }] }),
    async deliver(batch: RecordBatch) {
      const lines = batch.bytes
        .toString('utf8')
        .split('\n')
        .filter((line) => line !== '');
      const text = lines.map((line) => prettyRecord(JSON.parse(line) as AuditRecord, palette)).join('');
      if (!out.write(text)) await new Promise((resolve) => out.once('drain', resolve));
      return { outcome: 'accepted' };
    },
    close: async () => undefined,
  };
}
