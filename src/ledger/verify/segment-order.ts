import { basename } from 'node:path';
import type { Segment } from '../layout.ts';
import type { Findings } from './findings.ts';
import type { SegmentResult } from './segment-job.ts';

/** How segments follow one another. */
export class SegmentOrder {
  readonly #findings: Findings;
  readonly #segments: readonly Segment[];
  /** Index one past the last line. */
  end: number;
  /** Bytes behind the last line of the last segment. */
  torn = 0;

  constructor(findings: Findings, segments: readonly Segment[]) {
    this.#findings = findings;
    this.#segments = segments;
    this.end = segments[0]?.first ?? 0;
  }

  next(result: SegmentResult, i: number): void {
    const { first, path } = this.#segments[i]!;
    const segment = basename(path);
    if (first > this.end) {
      const torn = this.torn > 0;
      const level = torn ? ('tampered' as const) : ('missing' as const);
      const what = torn ? ('line_missing' as const) : ('segment_missing' as const);
      const message = `Records ${this.end} to ${first - 1} are not there`;
      this.#findings.add({ level, what, message, index: this.end, segment });
    } else if (first < this.end) {
      const message = `Segment ${segment} starts at ${first}, but the one before it ends at ${this.end - 1}`;
      this.#findings.add({ level: 'tampered', what: 'index_wrong', message, index: first, segment });
    } else if (this.torn > 0) {
      const message = `An unfinished line stands before segment ${segment}`;
      this.#findings.add({ level: 'tampered', what: 'segment_damaged', message, index: first, segment });
    }
    this.end = result.next;
    this.torn = result.torn;
  }
}
