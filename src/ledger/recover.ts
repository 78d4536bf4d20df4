// What a ledger on disk amounts to after a clean or unclean end: where the next record goes.
import fs from 'node:fs';
import { basename } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { listSegments, type Segment } from './layout.ts';
import { lastLine, lineIndex, readLines } from './lines.ts';

export interface RecoveredTail {
  /** The segment to append to, or null when the next record starts a new one. */
  readonly segment: Segment | null;
  /** Bytes of it that hold complete records; what lies behind is a torn write. */
  readonly size: number;
  /** Index of the next record. */
  readonly next: number;
  /** Bytes of a torn write that opening for append will cut. */
  readonly torn: number;
}

/** Longer lines are checked at their ends only: parsing them would take several times their size in memory. */
const PARSE_BYTES = 4 << 20;

/**
 * Reads the last segment whole: each line starts with the next index, is JSON and ends. Changes nothing.
 * @throws AUD_LEDGER_CORRUPT with segment and line.
 */
export function recoverTail(segmentsDir: string): RecoveredTail {
  const segments = listSegments(segmentsDir);
  const last = segments.at(-1);
  if (last === undefined) return { segment: null, size: 0, next: 0, torn: 0 };
  checkJoint(segments);
  if (last.compressed) throw corrupt(last, 0, 'the newest segment is compressed, so the one after it is missing');
  const { next, size } = scanSegment(last);
  return { segment: last, size, next, torn: fs.statSync(last.path).size - size };
}

function scanSegment(segment: Segment): { next: number; size: number } {
  let next = segment.first;
  let size = 0;
  for (const block of readLines(segment.path, 0, { reuse: true })) {
    let start = 0;
    for (const end of block.ends) {
      checkLine(segment, block.bytes.subarray(start, end - 1), next);
      start = end;
      next++;
    }
    size = block.offset + block.bytes.length;
  }
  return { next, size };
}

function checkLine(segment: Segment, line: Buffer, index: number): void {
  const found = lineIndex(line, 0);
  if (found !== index) {
    throw corrupt(segment, index, found === -1 ? 'the line is not a record' : `the line has index ${found}`);
  }
  try {
    if (line.length <= PARSE_BYTES) JSON.parse(line.toString('utf8'));
    else if (line[line.length - 1] !== 0x7d) throw new SyntaxError('no closing brace');
  } catch {
    throw corrupt(segment, index, 'the line is not JSON');
  }
}

/** The last two segments must join: the older one's last record is just before the newer one's first. */
function checkJoint(segments: readonly Segment[]): void {
  const [before, last] = segments.slice(-2);
  if (before === undefined || last === undefined) return;
  const line = lastLine(before.path);
  const found = line === null ? before.first - 1 : lineIndex(line, 0);
  if (found !== last.first - 1) {
    throw corrupt(before, found + 1, `the next segment starts at ${last.first}, so records are missing between them`);
  }
}

function corrupt(segment: Segment, index: number, why: string): AuditError {
  return new AuditError('AUD_LEDGER_CORRUPT', {
    message: `Segment ${basename(segment.path)} is damaged at index ${index}: ${why}.`,
    action:
      'Nothing was overwritten. Keep the directory, run changetrail verify, and restore this segment from a copy.',
    retry: 'after_operator',
    data: { segment: basename(segment.path), index },
  });
}
