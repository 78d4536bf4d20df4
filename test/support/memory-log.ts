import { pino } from 'pino';
import type { Logger } from '../../src/telemetry/log.ts';

export interface MemoryLog {
  readonly log: Logger;
  readonly entries: Record<string, unknown>[];
  /** How often an event was logged. */
  count(event: string): number;
}

/** A logger that keeps its entries, all levels. */
export function memoryLog(): MemoryLog {
  const entries: Record<string, unknown>[] = [];
  const log = pino(
    { level: 'trace', base: null },
    { write: (line: string) => void entries.push(JSON.parse(line) as Record<string, unknown>) },
  );
  return { log, entries, count: (event) => entries.filter((entry) => entry['event'] === event).length };
}
