import { AuditError } from '../../src/errors/audit-error.ts';
import type { ControlClient } from './client.ts';
import { parseLsn } from './lsn.ts';
import { slotStatement } from './setup.ts';

/** A row of pg_replication_slots. @see https://www.postgresql.org/docs/current/view-pg-replication-slots.html */
export interface SlotState {
  readonly plugin: string;
  readonly database: string;
  readonly activePid: number | null;
  readonly confirmed: bigint | null;
  /** `lost` or an invalidation reason: the server has removed log the slot needs. */
  readonly lost: string | null;
}

export async function readSlot(client: ControlClient, slot: string): Promise<SlotState | null> {
  const rows = await client.query<{ slot: Record<string, unknown> }>(
    'select to_jsonb(s) as slot from pg_catalog.pg_replication_slots s where slot_name = $1',
    [slot],
  );
  const row = rows[0]?.slot;
  if (row === undefined) return null;
  const reason = row['invalidation_reason'] ?? row['conflicting'];
  return {
    plugin: String(row['plugin'] ?? ''),
    database: String(row['database'] ?? ''),
    activePid: typeof row['active_pid'] === 'number' ? row['active_pid'] : null,
    confirmed: typeof row['confirmed_flush_lsn'] === 'string' ? parseLsn(row['confirmed_flush_lsn']) : null,
    lost: typeof reason === 'string' ? reason : row['wal_status'] === 'lost' ? 'wal_removed' : null,
  };
}

/** @throws AUD_PG_SLOT_UNUSABLE when the name is taken by something else. */
export function checkSlotIsOurs(slot: SlotState, name: string, database: string): void {
  if (slot.plugin === 'pgoutput' && slot.database === database) return;
  throw new AuditError('AUD_PG_SLOT_UNUSABLE', {
    message: `The slot ${name} belongs to plugin ${slot.plugin || '(physical)'} in database ${slot.database || '(none)'}, not to pgoutput in ${database}.`,
    action: 'Name another slot in the configuration (slot: …).',
  });
}

/**
 * Creates the slot and returns the position from which on it sees every commit. The server waits for the transactions that
 * run at the moment.
 */
export async function createSlot(client: ControlClient, slot: string): Promise<bigint> {
  await client.query(slotStatement(slot), [], 'long');
  const state = await readSlot(client, slot);
  if (state?.confirmed == null) {
    throw new AuditError('AUD_PG_SLOT_LOST', {
      message: `The slot ${slot} vanished right after it was created.`,
      retry: 'soon',
    });
  }
  return state.confirmed;
}
