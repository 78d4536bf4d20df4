// Where a source goes on: the ledger's last record of it decides, the position file saves reading the whole ledger.
import type { ResumePoint } from '../core/connector.ts';
import type { LedgerReader } from '../core/ledger.ts';
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
  let started: Readonly<Record<string, unknown>> | null = null;
  const schemas: { object: Readonly<Record<string, unknown>>; after: unknown }[] = [];
  const from = saved === null || ahead ? 0 : saved.index;
  for await (const batch of reader.read({ index: Math.max(from, reader.start) })) {
    let start = 0;
    for (const end of batch.ends) {
      const line = batch.bytes.subarray(start, end);
      start = end;
      const head = readHead(line);
      if (head.source['name'] !== source) continue;
      if (head.source['seq'] !== undefined) last = head;
      if (head.kind === 'change') continue;
      const record = JSON.parse(line.toString('utf8')) as Record<string, unknown>;
      const details = (record['details'] ?? {}) as Readonly<Record<string, unknown>>;
      if (head.kind === 'schema')
        schemas.push({ object: record['object'] as Record<string, unknown>, after: record['after'] });
      if (head.kind === 'capture' && record['action'] === 'start') started = details;
      // Another log begins here: what stands before says nothing of its positions.
      if (head.kind === 'gap' && details['lineage_reset'] === true) last = null;
    }
  }
  return {
    last: last?.source ?? null,
    lastKind: last?.kind ?? null,
    position: ahead ? null : (saved?.position ?? null),
    state: readState(files),
    started,
    schemas,
    ledgerBehind: ahead,
  };
}

/** Kind and source of a record, without parsing its rows: both stand before `action`. */
function readHead(line: Buffer): Head {
  const end = line.indexOf(ACTION);
  return JSON.parse(`${line.toString('utf8', 0, end)}}}`) as Head;
}
