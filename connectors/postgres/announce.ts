// What a start says of itself: in the ledger, and in the log.
import type { SourceHost } from '../../src/core/connector.ts';
import type { CaptureContext } from './capture-context.ts';
import type { Continuity, SourceState } from './continuity.ts';
import { formatLsn } from './lsn.ts';
import type { TableName, TableSelection } from './tables.ts';

const nameOf = ({ schema, table }: TableName) => `${schema}.${table}`;

/** The start of a capture; of what is kept between starts it is the ledger's copy. */
export function recordStart(
  { options, facts, output }: CaptureContext,
  state: SourceState,
  positions: { readonly previous: bigint | null; readonly from: bigint },
  { wanted, unlogged }: TableSelection,
): void {
  const from = formatLsn(positions.from);
  output.control({
    kind: 'capture',
    action: 'start',
    source: { database: facts.database, lsn: from },
    details: {
      from,
      previous: positions.previous === null ? null : formatLsn(positions.previous),
      server_version: facts.version,
      system_id: state.systemId,
      timeline: state.timeline,
      lineage: state.lineage,
      slot: options.slot,
      publication: options.publication,
      tables: wanted.length,
      ...(unlogged.length === 0 ? {} : { unlogged: unlogged.map(nameOf) }),
    },
  });
}

/** The hole that the decision found; `to`: where the stream sees everything again. */
export function recordGap({ gap, newLineage }: Continuity, to: bigint, database: string, host: SourceHost): void {
  if (gap === null) return;
  const positions = { from: formatLsn(gap.from), to: formatLsn(to) };
  host.output.control({
    kind: 'gap',
    action: 'gap',
    source: { database },
    outcome: 'unknown',
    details: {
      ...positions,
      cause: gap.cause,
      ...(gap.detail === undefined ? {} : { detail: gap.detail }),
      ...(newLineage ? { lineage_reset: true } : {}),
    },
  });
  host.log.error(
    { event: 'gap', cause: gap.cause, ...positions },
    `Changes between ${positions.from} and ${positions.to} are not in the trail (${gap.cause}); a gap record says so.`,
  );
}

/** Tables listed in a warning; there may be thousands. */
const LISTED = 20;

/** Patterns without a table, and tables that cannot be captured at all. */
export function warnOfPatterns({ unusedPatterns, wanted, unlogged }: TableSelection, log: SourceHost['log']): void {
  const captured = wanted.slice(0, LISTED).map(nameOf).join(', ') || 'none';
  const more = wanted.length > LISTED ? ` and ${wanted.length - LISTED} more` : '';
  for (const pattern of unusedPatterns) {
    log.warn(
      { event: 'pattern_unused', pattern, action: `Tables that are captured: ${captured}${more}.` },
      `The pattern ${pattern} matches no table.`,
    );
  }
  for (const table of unlogged) {
    log.warn(
      { event: 'table_unlogged' },
      `${nameOf(table)} is unlogged: its changes are not in the log and cannot be captured.`,
    );
  }
}
