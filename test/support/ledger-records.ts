import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { listSegments } from '../../src/ledger/layout.ts';
import { type AuditRecord, recordSchema } from '../../src/record/schema.ts';

/**
 * What stands in a ledger's files, read while they grow. Every line is checked as it is read: complete JSON, the record's
 * schema, an index without gap and an id that was never seen.
 */
export class LedgerRecords {
  readonly #segments: string;
  readonly #offsets = new Map<number, number>();
  readonly #ids = new Set<string>();
  readonly #all: AuditRecord[] = [];

  /** `segments`: the directory with the ledger's segments. */
  constructor(segments: string) {
    this.#segments = segments;
  }

  /** Every record up to now, in order; the same array each time. @throws what is wrong with a line, and which one. */
  read(): readonly AuditRecord[] {
    for (const { first, path } of listSegments(this.#segments)) {
      for (const line of this.#newLines(first, path)) this.#add(line);
    }
    return this.#all;
  }

  #newLines(segment: number, path: string): string[] {
    const from = this.#offsets.get(segment) ?? 0;
    const bytes = readFrom(path, from);
    const end = bytes.lastIndexOf(0x0a) + 1;
    if (end === 0) return [];
    this.#offsets.set(segment, from + end);
    return bytes.toString('utf8', 0, end - 1).split('\n');
  }

  #add(line: string): void {
    const place = `record ${this.#all.length}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new Error(`${place} is not JSON: ${line.slice(0, 300)}`, { cause });
    }
    const checked = recordSchema.safeParse(value);
    if (!checked.success) throw new Error(`${place} is no record: ${checked.error.message}\n${line.slice(0, 2000)}`);
    const record = value as AuditRecord;
    if (record.index !== this.#all.length) throw new Error(`${place} has the index ${record.index}`);
    if (this.#ids.has(record.id)) throw new Error(`${place} repeats the id ${record.id}`);
    this.#ids.add(record.id);
    this.#all.push(record);
  }
}

function readFrom(path: string, from: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(Math.max(0, fstatSync(file).size - from));
    let have = 0;
    while (have < bytes.length) {
      const read = readSync(file, bytes, have, bytes.length - have, from + have);
      if (read === 0) break;
      have += read;
    }
    return bytes.subarray(0, have);
  } finally {
    closeSync(file);
  }
}
