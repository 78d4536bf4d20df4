// One record of a ledger on disk, by index or id.
import { AuditError } from '../errors/audit-error.ts';
import { readHead } from '../record/head.ts';
import { listSegments } from './layout.ts';
import { lineIndex, readLines } from './lines.ts';

export interface FoundRecord {
  readonly index: number;
  /** Without the line feed. */
  readonly line: Buffer;
}

/** @throws AUD_LEDGER_RECORD */
export function findByIndex(segmentsDir: string, index: number): FoundRecord {
  const segment = listSegments(segmentsDir).findLast(({ first }) => first <= index);
  if (segment === undefined) throw notFound(`index ${index}`);
  let first = segment.first;
  for (const { bytes, ends } of readLines(segment.path, 0)) {
    const at = index - first;
    if (at < ends.length) return { index, line: bytes.subarray(at === 0 ? 0 : ends[at - 1]!, ends[at]! - 1) };
    first += ends.length;
  }
  throw notFound(`index ${index}`);
}

/** Reads the whole ledger, newest segment first. @throws AUD_LEDGER_RECORD */
export function findById(segmentsDir: string, id: string): FoundRecord {
  const wanted = Buffer.from(JSON.stringify(id), 'utf8');
  for (const { path } of listSegments(segmentsDir).reverse()) {
    for (const { bytes, ends } of readLines(path, 0)) {
      if (!bytes.includes(wanted)) continue;
      let start = 0;
      for (const end of ends) {
        if (bytes.subarray(start, end).includes(wanted) && readHead(bytes, start, end - 1).id === id) {
          return { index: lineIndex(bytes, start), line: bytes.subarray(start, end - 1) };
        }
        start = end;
      }
    }
  }
  throw notFound(`the id ${id}`);
}

function notFound(what: string): AuditError {
  return new AuditError('AUD_LEDGER_RECORD', { message: `The ledger has no record of ${what}.` });
}
