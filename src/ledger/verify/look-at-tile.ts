import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { TILE_WIDTH } from '../merkle.ts';
import { readTile, type TileKind } from '../tiles.ts';
import type { Findings } from './findings.ts';

/** As `readTile`; a tile that is there but cannot be read (rights, a bad disk) is a finding, unless somebody else reports it (null), and no end of verify. */
export function lookAtTile(
  ledger: string,
  kind: TileKind,
  n: number,
  size: number,
  findings: Findings | null,
): Buffer | 'unreadable' | null {
  try {
    return readTile(ledger, kind, n, size);
  } catch (error) {
    if (!(error instanceof AuditError)) throw error;
    const index = n * TILE_WIDTH * entriesUnder(kind);
    findings?.add({ level: 'missing', what: 'tile_unreadable', message: messageOf(error), index });
    return 'unreadable';
  }
}

/** Entries under one hash of a tile. */
export function entriesUnder(kind: TileKind): number {
  return kind === 'entries' ? 1 : TILE_WIDTH ** kind;
}
