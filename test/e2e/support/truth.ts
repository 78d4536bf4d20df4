// The truth about what was committed, taken from the server by another way than the product's: a second slot, read through SQL at
// the end, and the tables' final state.
import { deepStrictEqual, strictEqual } from 'node:assert';
import type { AuditRecord } from '../../../src/record/schema.ts';
import type { TestDatabase } from '../../support/provide.ts';
import { until } from '../../support/wait.ts';
import { changesOf, checkLedger } from './ledger-view.ts';
import type { TrailProcess } from './trail-process.ts';

const ACTIONS: Readonly<Record<string, string>> = { I: 'insert', U: 'update', D: 'delete', T: 'truncate' };

/** Creates the second slot. What is committed from now on must be in the ledger. */
export async function watchTruth(database: TestDatabase, tables: readonly string[]): Promise<void> {
  await database.query(`create publication truth for table ${tables.join(', ')}`);
  await database.query(`select pg_create_logical_replication_slot('truth_${database.name}', 'pgoutput')`);
}

/** Waits until the slot is confirmed up to what the server's log holds now. @throws when the process ends before. */
export async function untilConfirmed(database: TestDatabase, slot: string, trail: TrailProcess): Promise<void> {
  const { rows } = await database.query('select pg_current_wal_insert_lsn() as lsn');
  const confirmed = async () => {
    if (trail.exit !== null) return 'ended';
    const sql = 'select confirmed_flush_lsn >= $2::pg_lsn as done from pg_replication_slots where slot_name = $1';
    return (await database.query(sql, [slot, rows[0].lsn])).rows[0]?.done;
  };
  const what = `slot ${slot} to be confirmed up to ${rows[0].lsn}`;
  const done = await until(confirmed, { what, timeoutMs: 120_000 });
  if (done === 'ended') throw new Error(`the process ended while ${what} was waited for\n${trail.stderr.slice(-4000)}`);
}

/** Each change as `xid:ordinal:action:table`, in commit order. */
export async function committedChanges(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.query(
    `with m as (
       select ordinality as n, xid::text as xid, chr(get_byte(data, 0)) as kind, data
       from pg_logical_slot_peek_binary_changes('truth_${database.name}', null, null, 'proto_version', '1', 'publication_names', 'truth')
         with ordinality
       where chr(get_byte(data, 0)) in ('I', 'U', 'D', 'T'))
     select m.xid, m.kind, c.relname as table
     from m join pg_class c on c.oid = ('x' || encode(substring(m.data from case m.kind when 'T' then 7 else 2 end for 4), 'hex'))::bit(32)::int8
     order by m.n`,
  );
  const ordinals = new Map<string, number>();
  return rows.map((row) => {
    const ordinal = ordinals.get(row.xid) ?? 0;
    ordinals.set(row.xid, ordinal + 1);
    return `${row.xid}:${ordinal}:${ACTIONS[row.kind]}:${row.table}`;
  });
}

function recordedChange(record: AuditRecord): string {
  return `${record.source['tx']}:${record.source.seq}:${record.action}:${record.object.table}`;
}

/**
 * The ledger holds exactly the committed changes, in commit order with their ordinals, and played back they give the tables'
 * present state; on the way each `before` is what the change before left.
 */
export async function expectExactly(
  records: readonly AuditRecord[],
  database: TestDatabase,
  tables: readonly string[],
): Promise<void> {
  checkLedger(records);
  const changes = changesOf(records);
  const committed = await committedChanges(database);
  const recorded = changes.map(recordedChange);
  const differs = committed.findIndex((change, i) => recorded[i] !== change);
  if (differs !== -1 || recorded.length !== committed.length) {
    const at = differs === -1 ? committed.length : differs;
    const around = (list: readonly string[]) => list.slice(Math.max(0, at - 3), at + 4).join(' ');
    throw new Error(
      `the ledger has ${recorded.length} changes, ${committed.length} were committed; they differ from change ${at} on:\n` +
        `  committed: ${around(committed)}\n  recorded:  ${around(recorded)}`,
    );
  }
  const played = playBack(changes);
  for (const table of tables) {
    const { rows } = await database.query(`select to_jsonb(t) as row from ${table} t`);
    const actual = new Map(rows.map(({ row }) => [String(row.id), row]));
    deepStrictEqual(Object.fromEntries(played.get(table) ?? []), Object.fromEntries(actual), `state of ${table}`);
  }
}

type Row = Readonly<Record<string, unknown>>;

/** Every table has the key `id` and REPLICA IDENTITY FULL. */
function playBack(changes: readonly AuditRecord[]): Map<string, Map<string, Row>> {
  const tables = new Map<string, Map<string, Row>>();
  for (const change of changes) {
    const name = change.object.table!;
    let rows = tables.get(name);
    if (rows === undefined) {
      rows = new Map();
      tables.set(name, rows);
    }
    if (change.action === 'truncate') rows.clear();
    const before = change.before as Row | undefined;
    if (before !== undefined) {
      deepStrictEqual(rows.get(String(before['id'])), before, `before of ${change.id}`);
      rows.delete(String(before['id']));
    }
    const after = change.after as Row | undefined;
    if (after !== undefined) {
      strictEqual(rows.has(String(after['id'])), false, `row of ${change.id} was there already`);
      rows.set(String(after['id']), after);
    }
  }
  return tables;
}
