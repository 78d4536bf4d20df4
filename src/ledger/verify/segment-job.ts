// One segment: every line against its entry in the bundles, indexes gap-free, and what the lines say of themselves.
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { AuditError, systemCode } from '../../errors/audit-error.ts';
import { type LineBlock, lineIndex, readLines } from '../lines.ts';
import { HASH_BYTES, sha256Into, TILE_WIDTH } from '../merkle.ts';
import { ENTRY_BYTES } from '../tile-hash.ts';
import { BUNDLE_BYTES, emptyBundle } from '../tiles.ts';
import { Findings } from './findings.ts';
import { lookAtTile } from './look-at-tile.ts';
import { LineScan, type ScanEvent } from './scan.ts';

export interface SegmentJob {
  readonly job: 'segment';
  readonly ledger: string;
  readonly path: string;
  readonly first: number;
  /** Records before this are read but not checked. */
  readonly from: number;
  /** Records under the head; those from here on have no entry. */
  readonly size: number;
}

export interface SegmentResult {
  readonly findings: Pick<Findings, 'list' | 'tampered' | 'missing'>;
  readonly events: readonly ScanEvent[];
  /** Index one past the last line. */
  readonly next: number;
  /** Lines whose hash was compared. */
  readonly compared: number;
  /** Bytes behind the last line. */
  readonly torn: number;
}

const INDEX_AT = '{"v":1,"index":'.length;

export function checkSegment(job: SegmentJob): SegmentResult {
  return new SegmentCheck(job).run();
}

class SegmentCheck {
  readonly #job: SegmentJob;
  readonly #findings = new Findings();
  readonly #scan = new LineScan();
  /** What the bundle must hold for the lines of `#from` to `#index`. */
  readonly #entries = emptyBundle();
  #index: number;
  /** First index whose hash stands in `#entries`; -1 when none does. */
  #from = -1;
  #compared = 0;
  #end = 0;

  constructor(job: SegmentJob) {
    this.#job = job;
    this.#index = job.first;
  }

  run(): SegmentResult {
    const { path } = this.#job;
    let torn = 0;
    try {
      for (const block of readLines(path, 0, { reuse: true })) this.#block(block);
      // Gone: retention or compression took it while it was read, whole.
      if (!path.endsWith('.zst')) torn = (statSync(path, { throwIfNoEntry: false })?.size ?? this.#end) - this.#end;
    } catch (error) {
      this.#failed(error);
    }
    this.#compare();
    const { list, tampered, missing } = this.#findings;
    return {
      findings: { list, tampered, missing },
      events: this.#scan.events,
      next: this.#index,
      compared: this.#compared,
      torn,
    };
  }

  #failed(error: unknown): void {
    if (error instanceof AuditError && error.code === 'AUD_LEDGER_CORRUPT') {
      this.#add('tampered', 'segment_damaged', error.message);
    } else if (error instanceof AuditError) {
      this.#add('missing', 'unreadable', error.message);
    } else if (error instanceof Error && 'errno' in error) {
      // A directory in its place, a bad block of the disk: what was read before it was checked.
      const message = `Segment ${basename(this.#job.path)} cannot be read from record ${this.#index} on: ${systemCode(error)}`;
      this.#add('missing', 'unreadable', message, this.#index);
    } else throw error;
  }

  #block({ bytes, ends, offset }: LineBlock): void {
    const { size, from } = this.#job;
    let start = 0;
    for (const end of ends) {
      const index = this.#index;
      if (index >= from) {
        if (index < size) this.#hash(bytes.subarray(start, end - 1), index);
        this.#read(bytes, start, end - 1, index);
      }
      this.#index++;
      start = end;
    }
    this.#end = offset + bytes.length;
  }

  #hash(line: Uint8Array, index: number): void {
    if (this.#from === -1) this.#from = index;
    sha256Into(line, this.#entries, (index % TILE_WIDTH) * ENTRY_BYTES + 2);
    this.#compared++;
    if (index % TILE_WIDTH === TILE_WIDTH - 1) this.#compare(index + 1);
  }

  /** Compares the hashes gathered for one bundle with its entries. */
  #compare(to = Math.min(this.#index, this.#job.size)): void {
    const from = this.#from;
    this.#from = -1;
    if (from === -1) return;
    const n = Math.floor(from / TILE_WIDTH);
    const bundle = lookAtTile(this.#job.ledger, 'entries', n, this.#job.size, null);
    // A bundle that is not there, cannot be read or is of another length is a finding of the tiles.
    if (bundle === null || bundle === 'unreadable' || bundle.length > BUNDLE_BYTES) return;
    const start = (from % TILE_WIDTH) * ENTRY_BYTES;
    const end = Math.min(start + (to - from) * ENTRY_BYTES, bundle.length);
    if (bundle.compare(this.#entries, start, end, start, end) !== 0) this.#compareEach(bundle, from, start, end);
  }

  #compareEach(bundle: Buffer, from: number, start: number, end: number): void {
    for (let at = start + 2, index = from; at + HASH_BYTES <= end; at += ENTRY_BYTES, index++) {
      if (bundle.compare(this.#entries, at, at + HASH_BYTES, at, at + HASH_BYTES) === 0) continue;
      this.#add('tampered', 'line_changed', `Record ${index} is not the one that was signed`, index);
    }
  }

  #read(bytes: Buffer, start: number, end: number, index: number): void {
    const found = lineIndex(bytes, start);
    if (found !== index) {
      const what = found === -1 ? 'no record' : `the record ${found}`;
      this.#add('tampered', 'index_wrong', `Where record ${index} should be there is ${what}`, index);
      return;
    }
    let at = start + INDEX_AT;
    while (bytes[at]! !== 0x2c) at++;
    try {
      this.#scan.line(bytes, start, end, at, index);
    } catch {
      // Whatever is wrong with it: a record that cannot be read says nothing of its place.
      this.#add('tampered', 'record_damaged', `Record ${index} is not a record`, index);
    }
  }

  #add(level: 'tampered' | 'missing', what: Findings['list'][number]['what'], message: string, index?: number): void {
    const segment = basename(this.#job.path);
    this.#findings.add({ level, what, message, segment, ...(index === undefined ? {} : { index }) });
  }
}
