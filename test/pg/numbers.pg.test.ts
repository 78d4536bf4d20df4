// Positions and transaction numbers where they stop fitting: 31, 32 and 63 bits, on servers that were moved there.
import { describe, expect, test } from 'vitest';
import { type AuditRecord, startCapture } from '../support/capture.ts';
import { moveCluster } from '../support/move-cluster.ts';
import { type PostgresServer, postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { lsn } from './support/log.ts';

const SLOT = 'changetrail_shop';
const SEGMENT = 16n << 20n;

/** Further in one step, and old rows would look as if they were of the future; the server stops before. */
const LONGEST_STEP = 1_000_000_000n;
/** A step ends at the start of a file of commit states, which the server then makes itself. */
const XIDS_PER_FILE = 1n << 20n;

/** Goes there in steps, and freezes every row before each. */
async function moveTo(server: PostgresServer, place: { xid: bigint; lsn: bigint }): Promise<void> {
  await server.query('update pg_database set datallowconn = true');
  const { rows: databases } = await server.query('select datname from pg_database');
  let xid = BigInt((await server.query('select pg_current_xact_id()::text as xid')).rows[0].xid);
  while (xid < place.xid) {
    for (const { datname } of databases) await server.query('vacuum freeze', [], datname);
    await server.query('checkpoint');
    await server.stop('fast');
    const next = xid + LONGEST_STEP;
    xid = next < place.xid ? next - (next % XIDS_PER_FILE) : place.xid;
    const steps = (place.xid - xid + LONGEST_STEP - 1n) / LONGEST_STEP;
    await moveCluster(server.dataDir!, { xid, lsn: place.lsn - 32n * steps * SEGMENT });
    await server.start();
  }
}

const keys = (records: readonly AuditRecord[]) =>
  records.filter((record) => record.kind === 'change').map((record) => (record.object.key as { id: number }).id);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const PLACES: readonly [what: string, place: { xid: bigint; lsn: bigint }, crossed: { xid: bigint; lsn: bigint }][] = [
  [
    'transactions past 2^31 and positions past 2^32',
    { xid: (1n << 31n) - 60n, lsn: (1n << 32n) - 4n * SEGMENT },
    { xid: 1n << 31n, lsn: 1n << 32n },
  ],
  [
    'transactions past 2^32 and positions past 2^63',
    { xid: (1n << 32n) - 60n, lsn: (1n << 63n) - 4n * SEGMENT },
    { xid: 1n << 32n, lsn: 1n << 63n },
  ],
];

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`large numbers on PostgreSQL ${major}`, () => {
    test.each(PLACES)(
      '%s are captured in order, confirmed, and resumed over',
      { timeout: 180_000 },
      async (_what, place, crossed) => {
        await using server = await providePostgres({ major, fresh: true, settings: { autovacuum: 'off' } });
        await moveTo(server, place);
        await using database = await server.createDatabase();
        await database.query('create table t (id int primary key)');
        await using capture = await startCapture({ url: database.url });

        /** One transaction each. */
        const insert = async (from: number, to: number) => {
          for (const id of range(from, to)) await database.query(`insert into t values (${id})`);
        };
        const facts = async () => {
          const sql = `select pg_current_xact_id()::text as xid, pg_current_wal_insert_lsn()::text as lsn,
          (select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '${SLOT}') as confirmed`;
          const [row] = (await database.query(sql)).rows;
          return { xid: BigInt(row.xid), lsn: lsn(row.lsn), confirmed: lsn(row.confirmed) };
        };

        await insert(1, 4);
        expect(keys(await capture.caughtUp())).toEqual(range(1, 4));
        const before = await facts();
        expect(before.xid).toBeLessThan(crossed.xid);
        expect(before.lsn).toBeLessThan(crossed.lsn);
        await capture.stop();

        // Both are crossed while nobody looks; a sender that starts before reads on behind.
        await insert(5, 80);
        for (const id of range(81, 90)) {
          await insert(id, id);
          await database.query('select pg_switch_wal()');
        }
        await capture.start();
        await insert(91, 100);
        const records = await capture.caughtUp();
        expect(keys(records)).toEqual(range(1, 100));
        expect(records.filter((record) => record.kind === 'gap')).toEqual([]);
        const after = await facts();
        expect(after.xid).toBeGreaterThan(crossed.xid);
        expect(after.lsn).toBeGreaterThan(crossed.lsn);

        // What the records say is what the server says, and rises.
        const changes = records.filter((record) => record.kind === 'change');
        const positions = changes.map((record) => lsn(record.source['lsn']));
        expect(positions).toEqual(positions.toSorted((a, b) => (a < b ? -1 : 1)));
        expect(positions.at(-1)).toBeGreaterThan(crossed.lsn);
        const { rows } = await database.query('select id, xmin::text as tx from t order by id');
        expect(changes.map((record) => record.source['tx'])).toEqual(rows.map((row: { tx: string }) => row.tx));

        // The position behind the crossing is confirmed, held by the ledger, and gone on from.
        await capture.stop();
        const stopped = await facts();
        expect(stopped.confirmed).toBeGreaterThan(crossed.lsn);
        await insert(101, 105);
        await capture.start();
        const resumed = await capture.caughtUp();
        expect(keys(resumed)).toEqual(range(1, 105));
        expect(resumed.filter((record) => record.kind === 'gap')).toEqual([]);
        const starts = resumed.filter((record) => record.kind === 'capture' && record.action === 'start');
        expect(lsn(starts.at(-1)!.details!['from'])).toBeGreaterThan(crossed.lsn);
      },
    );

    test('a log that was reset behind our back is a gap, and capture goes on', { timeout: 180_000 }, async () => {
      await using server = await providePostgres({ major, fresh: true });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url });
      await database.query('insert into t values (1)');
      await capture.caughtUp();
      await capture.stop();
      const { rows } = await database.query('select pg_current_xact_id()::text as xid');
      await server.stop('fast');
      const xid = BigInt(rows[0].xid) + 100n;
      await moveCluster(server.dataDir!, { xid: xid - (xid % (1n << 20n)) + (1n << 20n), lsn: 0x10_0000_0000n });
      await server.start();
      await capture.start();
      const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
      expect(gap.details).toMatchObject({ cause: 'slot_invalidated', detail: 'wal_removed' });
      const begun = (record: AuditRecord) => record.action === 'start' && record.index > gap.index;
      await capture.record(begun, 'a start after the gap');
      await database.query('insert into t values (2)');
      expect(keys(await capture.caughtUp())).toEqual([1, 2]);
    });
  });
}
