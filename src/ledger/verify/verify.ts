// Is the ledger in this directory the one that was signed? Needs the directory and the public key, nothing else.
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { AuditError, messageOf, systemCode } from '../../errors/audit-error.ts';
import { listSegments, type Segment } from '../layout.ts';
import { checkSignature, type Head, parseHead, parseVerifierKey, type VerifierKey } from '../note.ts';
import { TileReader } from '../tiles.ts';
import { readTreeState } from '../tree-state.ts';
import { Claims } from './claims.ts';
import { findLedger } from './find-ledger.ts';
import { type Finding, Findings } from './findings.ts';
import { runJobs, type VerifyJob, type VerifyResult } from './jobs.ts';
import { checkLeftovers, type Leftovers } from './leftovers.ts';
import { type GivenHead, OutsideHeads } from './outside.ts';
import { ContinuityCheck } from './positions.ts';
import type { VerifyReport } from './report.ts';
import type { ScanEvent } from './scan.ts';
import { SegmentOrder } from './segment-order.ts';
import { SPAN, type TileResult } from './tile-job.ts';
import { checkUpperTiles, rootOf } from './upper-tiles.ts';

export interface VerifyOptions {
  /** Data directory, or the ledger directory in it. */
  readonly directory: string;
  /** Verifier keys, `name+hash+base64`. None: those that the directory itself names, which proves less. */
  readonly keys: readonly string[];
  /** Heads kept elsewhere. */
  readonly heads?: readonly GivenHead[];
  /** Records before this are left out. */
  readonly from?: number;
  /** Continuity of this source only. */
  readonly source?: string;
  /** Default: one a core. 0: no other thread. */
  readonly threads?: number;
  /** How long to wait for a head over records that were written meanwhile, in milliseconds. */
  readonly patienceMs?: number;
  /** Called with work done and in all, in records. */
  onProgress?(done: number, total: number): void;
}

const PATIENCE_MS = 3_000;
const POLL_MS = 100;
/** Where one of these was found, the tiles cannot say what an earlier head should be. */
const NO_TREE: ReadonlySet<Finding['what']> = new Set(['tile_missing', 'tile_unreadable', 'root_differs']);

/** @throws AUD_LEDGER_MISSING, AUD_KEY_INVALID; everything else is a finding */
export async function verifyLedger(options: VerifyOptions): Promise<VerifyReport> {
  return new Verification(options, findLedger(options.directory)).run();
}

class Verification {
  readonly #options: VerifyOptions;
  readonly #ledger: string;
  readonly #findings = new Findings();
  readonly #continuity: ContinuityCheck;
  readonly #claims: Claims;
  readonly #given: boolean;
  readonly #from: number;
  readonly #peaks: TileResult['peaks'][] = [];
  readonly #outside = new OutsideHeads(this.#findings);
  #head: Head | null = null;
  #tiles = new TileReader('', 0);
  #keyFrom: VerifyReport['key_from'];
  #compared = 0;
  #first = 0;
  #removed: VerifyReport['removed'] = null;
  #unsigned = 0;
  #leftovers: Leftovers = { ahead: 0, strange: [] };

  constructor(options: VerifyOptions, ledger: string) {
    this.#options = options;
    this.#ledger = ledger;
    this.#from = options.from ?? 0;
    this.#given = options.keys.length > 0;
    this.#keyFrom = this.#given ? 'given' : 'directory';
    const keys = (this.#given ? options.keys : ownKeys(ledger)).map(parseVerifierKey);
    this.#claims = new Claims(this.#findings, keys);
    this.#continuity = new ContinuityCheck(
      (index, message) => this.#findings.say('tampered', 'order_broken', message, index),
      options.source ?? null,
    );
  }

  async run(): Promise<VerifyReport> {
    this.#head = this.#readCheckpoint();
    if (this.#head === null) return this.#report();
    const { size } = this.#head;
    this.#tiles = new TileReader(this.#ledger, size);
    this.#checkSignature(this.#head, this.#claims.trusted);
    const segments = this.#listSegments();
    await this.#runJobs(segments, size);
    this.#checkRoot(this.#head);
    this.#claims.published(this.#head);
    if (!this.#compareHeads(segments, size)) this.#outside.cannotTell(this.#options.heads ?? []);
    this.#checkKey(this.#head);
    this.#leftovers = checkLeftovers(this.#ledger, size, this.#findings);
    return this.#report();
  }

  #listSegments(): Segment[] {
    try {
      return listSegments(join(this.#ledger, 'segments'));
    } catch (error) {
      this.#findings.say('missing', 'unreadable', `The folder segments cannot be read: ${systemCode(error)}`);
      return [];
    }
  }

  /** Heads in records and from outside against the tree; false when the tree is not whole enough to tell. */
  #compareHeads(segments: readonly Segment[], size: number): boolean {
    if (this.#findings.list.some(({ what }) => NO_TREE.has(what))) return false;
    try {
      this.#claims.check(this.#tiles);
      this.#checkStart(segments, size);
      for (const head of this.#options.heads ?? []) this.#outside.check(head, this.#tiles, this.#claims.trusted);
      return true;
    } catch (error) {
      if (!(error instanceof AuditError)) throw error;
      this.#findings.say('missing', 'tile_unreadable', `Earlier heads could not be compared: ${messageOf(error)}`);
      return false;
    }
  }

  #readCheckpoint(): Head | null {
    const path = join(this.#ledger, 'checkpoint');
    if (!existsSync(path)) {
      this.#findings.say('missing', 'checkpoint_missing', 'There is no checkpoint, so nothing says what was signed');
      return null;
    }
    try {
      return parseHead(readFileSync(path));
    } catch (error) {
      const readable = error instanceof AuditError;
      this.#findings.say(
        readable ? 'tampered' : 'missing',
        readable ? 'checkpoint_damaged' : 'unreadable',
        `checkpoint: ${messageOf(error)}`,
      );
      return null;
    }
  }

  #checkSignature(head: Head, keys: readonly VerifierKey[]): void {
    if (keys.some((key) => checkSignature(head.note, key) === 'invalid')) {
      this.#findings.say('tampered', 'signature_invalid', 'The signature of the checkpoint is not valid');
    }
  }

  async #runJobs(segments: readonly Segment[], size: number): Promise<void> {
    const wanted = segments.filter((_, i) => (segments[i + 1]?.first ?? Number.MAX_SAFE_INTEGER) > this.#from);
    const jobs: VerifyJob[] = [];
    for (let n = 0; n * SPAN < size; n++) jobs.push({ job: 'tiles', ledger: this.#ledger, n, size, from: this.#from });
    const tiles = jobs.length;
    for (const { path, first } of wanted) {
      jobs.push({ job: 'segment', ledger: this.#ledger, path, first, from: this.#from, size });
    }
    const total = 2 * Math.max(0, size - this.#from);
    let done = 0;
    let at = 0;
    const segmentCheck = new SegmentOrder(this.#findings, wanted);
    for await (const result of runJobs(jobs, this.#options.threads ?? availableParallelism())) {
      this.#findings.addAll(result.findings);
      if (isTileResult(result)) this.#peaks.push(result.peaks);
      else {
        segmentCheck.next(result, at - tiles);
        this.#compared += result.compared;
        for (const event of result.events) this.#event(event);
      }
      at++;
      done += 'checked' in result ? result.checked : result.compared;
      this.#options.onProgress?.(Math.min(done, total), total);
    }
    this.#first = wanted[0]?.first ?? size;
    this.#continuity.finish();
    await this.#tail(segmentCheck, size);
  }

  #event(event: ScanEvent): void {
    if (event.kind === 'run') this.#continuity.run(event);
    else if (event.kind === 'disorder') this.#continuity.disorder(event);
    else if (event.kind === 'head') this.#claims.head(event);
    else if (event.kind === 'prune') this.#claims.prune(event);
    else if ('vkey' in event) this.#claims.key(event);
    else this.#continuity.event(event);
  }

  /** Records behind the head: of a ledger that is being written, or of nobody known. */
  async #tail({ end, torn }: SegmentOrder, size: number): Promise<void> {
    this.#unsigned = Math.max(0, end - size);
    if (end < size) {
      const what = torn > 0 ? ('line_missing' as const) : ('segment_missing' as const);
      const level = torn > 0 ? ('tampered' as const) : ('missing' as const);
      this.#findings.say(level, what, `The head covers ${size} records; those from ${end} on are not there`, end);
    } else if ((this.#unsigned > 0 || torn > 0) && !(await this.#isWritten(end))) {
      const what = this.#unsigned > 0 ? `${this.#unsigned} records` : `${torn} bytes of an unfinished line`;
      this.#findings.say(
        'missing',
        'unsigned_tail',
        `${what} stand behind the signed head: nothing says whether they were written by the ledger`,
        size,
      );
    }
  }

  /** Waits a moment for a newer head that covers what was seen. */
  async #isWritten(end: number): Promise<boolean> {
    for (let waited = 0; waited < (this.#options.patienceMs ?? PATIENCE_MS); waited += POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      try {
        const head = parseHead(readFileSync(join(this.#ledger, 'checkpoint')));
        const signed = this.#claims.trusted.some((key) => checkSignature(head.note, key) === 'valid');
        if (signed && head.size > this.#head!.size && head.size >= end) return true;
      } catch {
        // Read in the middle of nothing good: the next look tells.
      }
    }
    return false;
  }

  #checkRoot(head: Head): void {
    const root = rootOf(this.#peaks);
    if (root === null) return;
    const full = this.#peaks.filter((_, n) => (n + 1) * SPAN <= head.size).map((peaks) => peaks![0]!);
    checkUpperTiles(this.#ledger, head.size, full, this.#findings);
    if (!root.equals(head.root)) {
      this.#findings.say(
        'tampered',
        'root_differs',
        'The entries do not give the root that the checkpoint says was signed',
      );
    }
  }

  /** A ledger that does not start at 0 needs a retention record that says so. */
  #checkStart(segments: readonly Segment[], size: number): void {
    const start = segments[0]?.first ?? size;
    if (start === 0) return;
    const claim = this.#claims.explains(start, this.#tiles);
    if (claim !== null) this.#removed = { records: start, index: claim.index };
    else {
      this.#findings.say(
        'missing',
        'retention_unexplained',
        `Records 0 to ${start - 1} are not there, and no retention record says that they went`,
        0,
      );
    }
  }

  /** Last, because records may have brought keys that the given one vouches for. */
  #checkKey(head: Head): void {
    const signers = this.#claims.trusted.filter((key) => checkSignature(head.note, key) === 'valid');
    if (signers.length === 0) {
      if (this.#findings.list.some(({ what }) => what === 'signature_invalid')) return;
      const by = head.note.signatures.map(({ name, id }) => `${name}+${id}`).join(', ');
      const keys =
        this.#claims.trusted.length === 0 ? 'No key was given' : 'The key that was given did not sign this ledger';
      this.#findings.say('missing', 'key_unknown', `${keys}; the checkpoint is signed by ${by}`);
      return;
    }
    if (signers.every(({ name }) => name !== head.origin)) {
      this.#findings.say(
        'tampered',
        'signature_invalid',
        `The checkpoint is of ${head.origin}, but signed as ${signers[0]!.name}`,
      );
    }
    if (this.#given && signers.every(({ text }) => !this.#options.keys.includes(text))) this.#keyFrom = 'record';
  }

  #report(): VerifyReport {
    const { tampered, missing, list } = this.#findings;
    const head = this.#head;
    const exposedFrom = this.#outside.vouchedFor;
    const signers =
      head === null ? [] : this.#claims.trusted.filter((key) => checkSignature(head.note, key) === 'valid');
    return {
      verdict: tampered > 0 ? 'tampered' : missing > 0 ? 'incomplete' : 'verified',
      ledger: this.#ledger,
      origin: head?.origin ?? null,
      size: head?.size ?? null,
      root: head?.root.toString('base64') ?? null,
      signed_by: signers.map(({ text }) => text),
      key_from: this.#keyFrom,
      compared: this.#compared,
      first: this.#first,
      removed: this.#removed,
      unsigned: this.#unsigned,
      heads: this.#claims.heads,
      outside: this.#outside.judged,
      exposed_from: head === null || exposedFrom >= head.size ? null : exposedFrom,
      sources: this.#continuity.sources,
      gaps: this.#continuity.gaps,
      leftovers: this.#leftovers,
      findings: list,
      tampered,
      missing,
    };
  }
}

function isTileResult(result: VerifyResult): result is TileResult {
  return 'peaks' in result;
}

/** Keys that the data directory around the ledger names. */
function ownKeys(ledger: string): readonly string[] {
  return readTreeState(join(dirname(ledger), 'tree.json'))?.keys ?? [];
}
