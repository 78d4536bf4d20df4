import type { TestDatabase } from '../../support/provide.ts';
import { until } from '../../support/wait.ts';

/** An LSN as the number it stands for. */
export function lsn(text: unknown): bigint {
  const [high, low] = String(text).split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

/** Where the server's log ends now. */
export async function position(database: TestDatabase): Promise<string> {
  return (await database.query('select pg_current_wal_insert_lsn()::text as lsn')).rows[0].lsn;
}

/** Waits until nobody reads the slot. */
export async function slotFree(database: TestDatabase, slot: string): Promise<void> {
  const sql = 'select not active as free from pg_replication_slots where slot_name = $1';
  await until(async () => (await database.query(sql, [slot])).rows[0]?.free, { what: 'the slot to be free' });
}
