// Where a source goes on: the ledger's last record of it decides, the position file saves reading the whole ledger.
import type { ResumePoint } from '../core/connector.ts';
import type { LedgerReader } from '../core/ledger.ts';
import { AuditError } from '../errors/audit-error.ts';
import { readHead } from '../record/head.ts';
import { parseFront } from '../record/parse.ts';
import { type PositionFiles, readPosition, readState } from './positions.ts';

/** Reads the ledger from where the position file was saved to its end. */
export async function loadResume(source: string, files: PositionFiles, reader: LedgerReader): Promise<ResumePoint> {
  const saved = readPosition(files);
  const ahead = saved !== null && saved.index > reader.end;
  const trace = new SourceTrace(source, ahead ? null : (saved?.position ?? null));
  const from = saved === null || ahead ? 0 : saved.index;
  for await (const batch of reader.read({ index: Math.max(from, reader.start) })) {
    try {
      trace.add(batch.bytes, batch.ends);
    } catch (cause) {
      throw damaged(batch.first, cause);
    }
  }
  const { last, position, started, schemas } = trace;
  return {
    last: last?.source ?? null,
    lastKind: last?.kind ?? null,
    position,
    state: readState(files),
    started,
    schemas,
    ledgerBehind: ahead,
  };
}

type Details = Readonly<Record<string, unknown>>;

/** What the records of one source come to, read in order. */
class SourceTrace {
  readonly #source: string;
  /** The last change, not parsed yet: each is soon followed by another. */
  #change: Buffer | null = null;
  last: { readonly kind: string; readonly source: Details } | null = null;
  position: string | null;
  started: Details | null = null;
  readonly schemas: { object: Details; after: unknown }[] = [];

  constructor(source: string, position: string | null) {
    this.#source = source;
    this.position = position;
  }

  /** @throws SyntaxError when a line is not a record */
  add(bytes: Buffer, ends: Iterable<number>): void {
    let start = 0;
    for (const end of ends) {
      const head = readHead(bytes, start, end);
      const line = bytes.subarray(start, end);
      start = end;
      if (head.source !== this.#source) continue;
      if (head.kind === 'change') this.#change = line;
      else this.#control(line);
    }
    // So that the batch can go: it may be large.
    this.#parseChange();
  }

  #parseChange(): void {
    if (this.#change !== null) this.last = parseFront(this.#change);
    this.#change = null;
  }

  #control(line: Buffer): void {
    const record = JSON.parse(line.toString('utf8')) as Details & { kind: string; source: Details };
    const details = (record['details'] ?? {}) as Details;
    if (record.source['seq'] !== undefined) {
      this.#change = null;
      this.last = record;
    }
    if (record.kind === 'schema') this.schemas.push({ object: record['object'] as Details, after: record['after'] });
    if (record.kind === 'capture' && record['action'] === 'start') this.started = details;
    if (record.kind === 'gap' && details['lineage_reset'] === true) this.#forget();
  }

  /** Another log begins here: what stands before says nothing of its positions and tables. */
  #forget(): void {
    this.#change = null;
    this.last = null;
    this.position = null;
    this.started = null;
    this.schemas.length = 0;
  }
}

function damaged(first: number, cause: unknown): AuditError {
  return new AuditError('AUD_LEDGER_CORRUPT', {
    message: `A record of the ledger at or after index ${first} is damaged.`,
    action: 'Nothing was overwritten. Run changetrail verify, and restore the segment from a copy.',
    cause,
  });
}
