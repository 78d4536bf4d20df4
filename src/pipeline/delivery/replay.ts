// What `changetrail replay` sends again: a range of the ledger, or a sink's dead letters.
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import type { LedgerBatch, LedgerReader } from '../../core/ledger.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { removeFile, syncDirectory } from '../../ledger/file-ops.ts';
import { membersOf, parseAt } from '../../record/json-scan.ts';
import { replayingPath } from './dead-letters.ts';
import { lineAt } from './parcel.ts';

/** The member `name` of a line's record, if it is a text. */
function textOf(line: Buffer, name: string): string | null {
  for (const member of membersOf(line)) {
    if (member.name !== name) continue;
    const value = parseAt(line, member.valueStart, member.end);
    return typeof value === 'string' ? value : null;
  }
  return null;
}

/**
 * The index a place in the ledger means: an index, a date or time (the first record captured at or after it; UTC unless it
 * names another zone), or a record's id. @throws AUD_CLI_USAGE when no record has the id.
 */
export async function resolvePlace(reader: LedgerReader, place: string): Promise<number> {
  if (/^\d+$/.test(place)) return Number(place);
  const time = timeOf(place);
  const found = Number.isNaN(time)
    ? await findFirst(reader, (line) => line.includes(place.slice(0, 64)) && textOf(line, 'id') === place)
    : ((await findFirst(reader, (line) => Date.parse(textOf(line, 'captured') ?? '') >= time)) ?? reader.end);
  if (found !== null) return found;
  throw new AuditError('AUD_CLI_USAGE', {
    message: `No record in the ledger has the id ${JSON.stringify(place)}.`,
    action: 'Give an index, a time such as 2026-11-24T10:00:00Z, or the id of a record.',
  });
}

/** Milliseconds since 1970, NaN for what is no date or time. Without a zone it is UTC, as all times of a record are. */
function timeOf(place: string): number {
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ]([\d:.]+)(Z|[+-]\d\d:?\d\d)?)?$/i.exec(place);
  if (parts === null) return Number.NaN;
  const [, date, clock, zone = 'Z'] = parts;
  return Date.parse(clock === undefined ? date! : `${date}T${clock}${zone}`);
}

async function findFirst(reader: LedgerReader, fits: (line: Buffer) => boolean): Promise<number | null> {
  for await (const batch of reader.read({ index: reader.start })) {
    for (let i = 0; i < batch.count; i++) if (fits(lineAt(batch, i))) return batch.first + i;
  }
  return null;
}

/** How many records of a range were made (`time`) before `before`, in milliseconds since 1970. */
export async function countOlder(reader: LedgerReader, from: number, to: number, before: number): Promise<number> {
  let count = 0;
  for await (const batch of reader.read({ index: from }, { to })) {
    for (let i = 0; i < batch.count; i++) if (Date.parse(textOf(lineAt(batch, i), 'time') ?? '') < before) count++;
  }
  return count;
}

/** A sink's refused records, taken out of its file to be sent again. */
export interface TakenLetters {
  /** Ledger indexes, ascending. */
  readonly indexes: readonly number[];
  /** Lines of the file that are no letter: the torn end of a write, whose records were refused and written once more. */
  readonly damaged: number;
  readonly reader: LedgerReader;
  /**
   * To be called when all were delivered or refused anew. True when the file is gone; false when more was written to it
   * meanwhile: take again.
   */
  finish(): boolean;
}

/**
 * Takes the dead letters of `path`, or null when there are none. The running process goes on writing a new file; what an
 * interrupted replay left is taken first. Records come from the ledger, or from the letter where the ledger has them no more.
 */
export function takeDeadLetters(path: string, ledger: LedgerReader): TakenLetters | null {
  const taken = replayingPath(path);
  if (!existsSync(taken)) {
    if (!existsSync(path)) return null;
    renameSync(path, taken);
    syncDirectory(dirname(path));
  }
  const content = readFileSync(taken);
  const { letters, damaged } = readLetters(content);
  const indexes = [...letters.keys()].sort((a, b) => a - b);
  return {
    indexes,
    damaged,
    reader: new LetterReader(ledger, indexes, letters),
    finish() {
      if (readFileSync(taken).length !== content.length) return false;
      removeFile(taken);
      return true;
    },
  };
}

/** The last letter of each index: index to record line. */
function readLetters(content: Buffer): { readonly letters: Map<number, Buffer>; readonly damaged: number } {
  const letters = new Map<number, Buffer>();
  let damaged = 0;
  for (let start = 0, end = content.indexOf(10); end !== -1; start = end + 1, end = content.indexOf(10, start)) {
    const line = content.subarray(start, end);
    const members = isJson(line) ? membersOf(line) : [];
    const index = members.find(({ name }) => name === 'index');
    const record = members.find(({ name }) => name === 'record');
    if (index === undefined || record === undefined) {
      damaged++;
      continue;
    }
    const text = Buffer.concat([line.subarray(record.valueStart, record.end), Buffer.from('\n')]);
    letters.set(Number(parseAt(line, index.valueStart, index.end)), text);
  }
  return { letters, damaged };
}

function isJson(line: Buffer): boolean {
  try {
    JSON.parse(line.toString('utf8'));
    return true;
  } catch {
    // Said by its number; the line stays out.
    return false;
  }
}

class LetterReader implements LedgerReader {
  readonly #ledger: LedgerReader;
  readonly #indexes: readonly number[];
  readonly #letters: ReadonlyMap<number, Buffer>;

  constructor(ledger: LedgerReader, indexes: readonly number[], letters: ReadonlyMap<number, Buffer>) {
    this.#ledger = ledger;
    this.#indexes = indexes;
    this.#letters = letters;
  }

  get start(): number {
    return this.#indexes[0] ?? 0;
  }

  get end(): number {
    return (this.#indexes.at(-1) ?? -1) + 1;
  }

  async *read(): AsyncGenerator<LedgerBatch> {
    const kept = this.#ledger.start;
    for (const index of this.#indexes) {
      if (index >= kept && index < this.#ledger.end)
        yield* this.#ledger.read({ index }, { to: index + 1, batchRecords: 1 });
      else yield alone(index, this.#letters.get(index)!);
    }
  }
}

function alone(index: number, bytes: Buffer): LedgerBatch {
  return { first: index, count: 1, bytes, ends: Uint32Array.of(bytes.length), next: { index: index + 1 } };
}
