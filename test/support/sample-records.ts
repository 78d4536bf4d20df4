import { readFileSync } from 'node:fs';
import { parseRecord } from '../../src/record/parse.ts';
import type { AuditRecord } from '../../src/record/schema.ts';

/** The lines of `test/vectors/records/kinds.ndjson`, without line feeds: every kind and action of each engine. */
export function sampleLines(): string[] {
  const path = new URL('../vectors/records/kinds.ndjson', import.meta.url);
  return readFileSync(path, 'utf8').trimEnd().split('\n');
}

/** The same, parsed. */
export function sampleRecords(): AuditRecord[] {
  return sampleLines().map((line) => parseRecord(line));
}
