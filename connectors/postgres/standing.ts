// Where a source stands, from what the ledger, the position file and the kept state say.
import type { ResumePoint } from '../../src/core/connector.ts';
import type { SourceState } from './continuity.ts';
import type { Held } from './decode/pgoutput.ts';
import { maxLsn, parseLsn } from './lsn.ts';

/** Up to where the ledger is complete, and what to drop when the server sends it again. */
export function standsAt(resume: ResumePoint): { stands: bigint | null; held: Held } {
  const position = resume.position === null ? null : resume.position.split(' ').map(parseLsn);
  const commit = typeof resume.last?.['lsn'] === 'string' ? parseLsn(resume.last['lsn']) : null;
  const begun = typeof resume.started?.['from'] === 'string' ? parseLsn(resume.started['from']) : null;
  const end = maxLsn(position === null ? null : (position[1] ?? position[0]!), begun);
  if (commit === null || (end !== null && end > commit)) {
    return { stands: end, held: { lsn: end ?? 0n, seq: -1 } };
  }
  // The last record may be of a transaction that was cut short: it is sent again, and what is held of it dropped.
  const seq = Number(resume.last?.['seq'] ?? 0);
  return { stands: commit, held: { lsn: commit, seq: resume.lastKind === 'schema' ? seq - 1 : seq } };
}

/** What was kept; of the log itself the ledger's start record is newer, or all there is where the file is lost. */
export function sourceState({ state, started }: ResumePoint, seenNow: string | null): SourceState | null {
  const seen = seenNow ?? state?.['seen'];
  const saved =
    typeof state?.['systemId'] !== 'string'
      ? null
      : {
          systemId: state['systemId'],
          timeline: Number(state['timeline']),
          lineage: Number(state['lineage'] ?? 1),
          ...(typeof seen === 'string' ? { seen } : {}),
          ...(Array.isArray(state['streamed']) ? { streamed: state['streamed'] as string[] } : {}),
          ...(typeof state['publication'] === 'number' ? { publication: state['publication'] } : {}),
        };
  if (typeof started?.['system_id'] !== 'string') return saved;
  const begun = {
    systemId: started['system_id'],
    timeline: Number(started['timeline']),
    lineage: Number(started['lineage'] ?? 1),
  };
  return saved?.systemId === begun.systemId ? { ...saved, ...begun } : begun;
}
