import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AuditRecord, recordSchema } from '../../../src/record/schema.ts';

/**
 * All records of a data directory, read with nothing of the product but the schema. An unfinished last line is left out
 * (a killed process leaves one), anything else that is wrong throws.
 */
export function readLedger(data: string): AuditRecord[] {
  const segments = join(data, 'ledger', 'segments');
  if (!existsSync(segments)) return [];
  const records: AuditRecord[] = [];
  const names = readdirSync(segments)
    .filter((name) => name.endsWith('.ndjson'))
    .sort();
  for (const [i, name] of names.entries()) {
    const lines = readFileSync(join(segments, name), 'utf8').split('\n');
    const torn = lines.pop();
    if (torn !== '' && i !== names.length - 1) throw new Error(`${name} ends in the middle of a line`);
    if (Number(name.slice(0, 16)) !== records.length) throw new Error(`${name} starts at record ${records.length}`);
    for (const line of lines) records.push(JSON.parse(line) as AuditRecord);
  }
  return records;
}

/** What holds for every ledger whatever happened: indexes gap-free from 0, ids unique, each record valid. Throws what does not. */
export function checkLedger(records: readonly AuditRecord[]): void {
  const seen = new Map<string, number>();
  for (const [i, record] of records.entries()) {
    if (record.index !== i) throw new Error(`record ${i} has index ${record.index}`);
    const before = seen.get(record.id);
    if (before !== undefined) throw new Error(`records ${before} and ${i} have the same id ${record.id}`);
    seen.set(record.id, i);
    const result = recordSchema.safeParse(record);
    if (!result.success) throw new Error(`record ${i} is not valid: ${JSON.stringify(result.error.issues)}`);
  }
}

/** The changes of the stream, without records about the capture itself. */
export function changesOf(records: readonly AuditRecord[]): AuditRecord[] {
  return records.filter((record) => record.kind === 'change');
}

export function gapsOf(records: readonly AuditRecord[]): AuditRecord[] {
  return records.filter((record) => record.kind === 'gap');
}

/** A PostgreSQL LSN as a number that can be compared. */
export function lsnOf(text: unknown): bigint {
  const [high, low] = String(text).split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}
