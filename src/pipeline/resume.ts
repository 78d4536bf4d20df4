// Where a source goes on: the ledger's last record of it decides, the position file saves reading the whole ledger.
import type { ResumePoint } from '../core/connector.ts';
import type { LedgerReader } from '../core/ledger.ts';
import { AuditError } from '../errors/audit-error.ts';
import { type PositionFiles, readPosition, readState } from './positions.ts';

const ACTION = Buffer.from('},"action":"');

interface Head {
  readonly kind: string;
  readonly source: Readonly<Record<string, unknown>>;
}

/** Reads the ledger from where the position file was saved to its end. */
export async function loadResume(source: string, files: PositionFiles, reader: LedgerReader): Promise<ResumePoint> {
  const saved = readPosition(files);
  const ahead = saved !== null && saved.index > reader.end;
  let last: Head | null = null;
  let position = ahead ? null : (saved?.position ?? null);
  let started: Readonly<Record<string, unknown>> | null = null;
  const schemas: { object: Readonly<Record<string, unknown>>; after: unknown }[] = [];
  const from = saved === null || ahead ? 0 : saved.index;
  for await (const batch of reader.read({ index: Math.max(from, reader.start) })) {
    let start = 0;
    for (const end of batch.ends) {
      const line = batch.bytes.subarray(start, end);
      start = end;
      const head = readHead(line, batch.first);
      if (head.source['name'] !== source) continue;
      if (head.source['seq'] !== undefined) last = head;
      if (head.kind === 'change') continue;
      const record = JSON.parse(line.toString('utf8')) as Record<string, unknown>;
      const details = (record['details'] ?? {}) as Readonly<Record<string, unknown>>;
      if (head.kind === 'schema')
        schemas.push({ object: record['object'] as Record<string, unknown>, after: record['after'] });
      if (head.kind === 'capture' && record['action'] === 'start') started = details;
      if (head.kind === 'gap' && details['lineage_reset'] === true) {
        // Another log begins here: what stands before says nothing of its positions and tables.
        last = null;
        position = null;
        started = null;
        schemas.length = 0;
      }
    }
  }
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

/** Kind and source of a record, without parsing its rows: both stand before `action`. */
function readHead(line: Buffer, first: number): Head {
  const end = line.indexOf(ACTION);
  try {
    return JSON.parse(`${line.toString('utf8', 0, end)}}}`) as Head;
  } catch (cause) {
    throw new AuditError('AUD_LEDGER_CORRUPT', {
      message: `A record of the ledger at or after index ${first} is damaged.`,
      action: 'Nothing was overwritten. Run changetrail verify, and restore the segment from a copy.',
      cause,
    });
  }
}
