// Whole closed segments older than the retention: which may go, the record that says so, and their removal.
import { basename } from 'node:path';
import type { ControlRecord } from '../core/output.ts';
import { readHead } from '../record/head.ts';
import { removeFile } from './file-ops.ts';
import { listSegments, type Segment } from './layout.ts';
import { firstLine, lastLine } from './lines.ts';
import { TILE_WIDTH } from './merkle.ts';
import type { Head } from './note.ts';

/** A time for which nothing may be removed, for as long as the hold is configured. */
export interface Hold {
  readonly matter: string;
  /** Milliseconds since 1970; records captured from then … */
  readonly from: number;
  /** … until then are held. */
  readonly to: number;
}

/** Segments that may go: a prefix of the ledger. */
export interface Expired {
  readonly segments: readonly Segment[];
  /** Indexes `[from, to)`. */
  readonly from: number;
  readonly to: number;
  /** When the first and the last of the records were captured, ISO 8601. */
  readonly oldest: string;
  readonly newest: string;
}

interface Span {
  readonly oldest: string;
  readonly newest: string;
}

/** What stands before `limitMs` and before any hold, and below `size`, in closed segments; null when nothing does. */
export function findExpired(
  segmentsDir: string,
  limitMs: number,
  size: number,
  holds: readonly Hold[],
): Expired | null {
  const all = listSegments(segmentsDir);
  const segments: Segment[] = [];
  let oldest = '';
  let newest = '';
  // The newest segment is never closed.
  for (const [i, segment] of all.slice(0, -1).entries()) {
    if (all[i + 1]!.first > size - (size % TILE_WIDTH)) break;
    const span = spanOf(segment);
    if (Date.parse(span.newest) >= limitMs || holds.some((hold) => isHeld(span, hold))) break;
    if (segments.length === 0) oldest = span.oldest;
    newest = span.newest;
    segments.push(segment);
  }
  if (segments.length === 0) return null;
  return { segments, from: segments[0]!.first, to: all[segments.length]!.first, oldest, newest };
}

function spanOf({ path }: Segment): Span {
  const first = firstLine(path)!;
  const last = lastLine(path)!;
  return {
    oldest: readHead(first, 0, first.length).captured,
    newest: readHead(last, 0, last.length).captured,
  };
}

function isHeld({ oldest, newest }: Span, { from, to }: Hold): boolean {
  return Date.parse(newest) >= from && Date.parse(oldest) <= to;
}

/** The record that must be durable, and under a signed head, before the segments go. `verify` accepts just what it says. */
export function pruneRecord(expired: Expired, head: Head, retentionMs: number): ControlRecord {
  const { from, to, oldest, newest, segments } = expired;
  return {
    kind: 'policy',
    action: 'prune',
    details: {
      from,
      to,
      oldest,
      newest,
      segments: segments.map(({ path }) => basename(path)),
      retention_ms: retentionMs,
      checkpoint: head.noteText,
    },
  };
}

/** Removes the segments, the oldest first, so that what is left never has a hole. */
export function removeSegments({ segments }: Expired): void {
  for (const { path } of segments) removeFile(path);
}
