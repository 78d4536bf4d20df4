// What breaks the line between a server's log and the ledger is found, said in a `gap` record before the first change behind it,
// and gone over (`setup: auto`) or handed to the operator (`setup: manual`). No id is ever given twice: `startCapture` checks each.
import { chownSync, cpSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors/codes.ts';
import { beginAnew } from '../../src/ledger/begin-anew.ts';
import { type AuditRecord, type Capture, type CaptureOptions, startCapture } from '../support/capture.ts';
import { runCommand } from '../support/commands.ts';
import {
  type PostgresServer,
  postgresMajors,
  postgresMissing,
  providePostgres,
  type TestDatabase,
} from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { Link } from './support/link.ts';
import { lsn, position, slotFree } from './support/log.ts';

const SLOT = 'changetrail_shop';
const PUBLICATION = 'changetrail_shop';

const insert = (database: TestDatabase, id: number) => database.query(`insert into t values (${id})`);
const ids = (records: readonly AuditRecord[]) =>
  records.filter((record) => record.kind === 'change').map((record) => (record.object.key as { id: number }).id);
const gaps = (records: readonly AuditRecord[]) => records.filter((record) => record.kind === 'gap');

/** The only gap, and that it stands before the change of row `before`. */
function theGap(records: readonly AuditRecord[], before: number): Record<string, unknown> {
  expect(gaps(records)).toHaveLength(1);
  const gap = gaps(records)[0]!;
  const change = records.find((record) => (record.object.key as { id?: number } | undefined)?.id === before);
  expect(change?.index).toBeGreaterThan(gap.index);
  return gap.details!;
}

/** Row 1 captured, then stopped. */
async function captured(options: CaptureOptions, database: TestDatabase): Promise<Capture> {
  await database.query('create table t (id int primary key)');
  const capture = await startCapture(options);
  await insert(database, 1);
  await capture.caughtUp();
  await capture.stop();
  await slotFree(database, SLOT);
  return capture;
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`continuity on PostgreSQL ${major}`, () => {
    describe('while capture is stopped', () => {
      const dropped = `select pg_drop_replication_slot('${SLOT}')`;
      const created = `select pg_create_logical_replication_slot('${SLOT}', 'pgoutput')`;
      const advanced = `select pg_replication_slot_advance('${SLOT}', pg_current_wal_lsn())`;
      test.each([
        ['dropped', [dropped], 'slot_missing'],
        ['recreated', [dropped, created], 'slot_advanced'],
        ['advanced by another', [advanced], 'slot_advanced'],
      ])('a slot that is %s is a gap', async (_what, damage, cause) => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        const start = await position(database);
        await insert(database, 2);
        const end = await position(database);
        for (const sql of damage) await database.query(sql);
        await capture.start();
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        const gap = theGap(records, 3);
        expect(gap['cause']).toBe(cause);
        expect(lsn(gap['from'])).toBeLessThanOrEqual(lsn(start));
        expect(lsn(gap['to'])).toBeGreaterThanOrEqual(lsn(end));
      });

      test('a slot whose log was removed is a gap', async () => {
        const settings = { max_slot_wal_keep_size: '1MB', min_wal_size: '32MB', max_wal_size: '32MB' };
        const server = await providePostgres({ major, settings });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        await insert(database, 2);
        const lost = async () => {
          await database.query('select pg_switch_wal()');
          await database.query('checkpoint');
          const sql = 'select wal_status from pg_replication_slots where slot_name = $1';
          return (await database.query(sql, [SLOT])).rows[0].wal_status === 'lost';
        };
        await until(lost, { what: 'the slot to be lost' });
        await capture.start();
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        expect(theGap(records, 3)['cause']).toBe('slot_invalidated');
      });

      test('a table taken out of the publication is a gap of that table', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        const start = await position(database);
        await database.query(`alter publication ${PUBLICATION} drop table t`);
        await insert(database, 2);
        await capture.start();
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        const gap = theGap(records, 3);
        expect(gap['cause']).toBe('table_unpublished');
        expect(lsn(gap['from'])).toBeLessThanOrEqual(lsn(start));
        expect(gaps(records)[0]!.object).toEqual({ schema: 'public', table: 't' });
      });

      test.each([
        ['dropped', [`drop publication ${PUBLICATION}`]],
        ['replaced', [`drop publication ${PUBLICATION}`, `create publication ${PUBLICATION}`]],
      ])('a publication that is %s is a gap', async (_what, damage) => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        const start = await position(database);
        await database.query(damage[0]!);
        await insert(database, 2);
        for (const sql of damage.slice(1)) await database.query(sql);
        await capture.start();
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toContain(3);
        expect(ids(records)).not.toContain(2);
        const first = gaps(records)[0]!;
        expect(first.details!['cause']).toMatch(/^publication_/);
        expect(lsn(first.details!['from'])).toBeLessThanOrEqual(lsn(start));
        const change = records.find((record) => (record.object.key as { id?: number })?.id === 3)!;
        expect(gaps(records).every((gap) => gap.index < change.index)).toBe(true);
      });
    });

    describe('while streaming', () => {
      test('a publication dropped under the stream is found, said and made again', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await database.query('create table t (id int primary key)');
        await using capture = await startCapture({ url: database.url });
        await insert(database, 1);
        await capture.caughtUp();
        const start = await position(database);
        await database.query(`drop publication ${PUBLICATION}`);
        await insert(database, 2);
        const end = await position(database);
        const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
        expect(gap.details!['cause']).toBe('publication_missing');
        expect(lsn(gap.details!['from'])).toBeLessThanOrEqual(lsn(start));
        expect(lsn(gap.details!['to'])).toBeGreaterThanOrEqual(lsn(end));
        await until(
          async () => (await database.query(`select 1 from pg_publication where pubname = '${PUBLICATION}'`)).rowCount,
          { what: 'the publication to be back' },
        );
        await capture.record(
          (record) => record.kind === 'capture' && record.action === 'start' && record.index > gap.index,
          'a start after the gap',
        );
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        theGap(records, 3);
      });

      test('a table taken out of the publication under the stream is put back, with a gap', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await database.query('create table t (id int primary key)');
        await using capture = await startCapture({ url: database.url });
        await insert(database, 1);
        await capture.caughtUp();
        const start = await position(database);
        await database.query(`alter publication ${PUBLICATION} drop table t`);
        await insert(database, 2);
        const end = await position(database);
        const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        expect(theGap(records, 3)['cause']).toBe('table_unpublished');
        expect(lsn(gap.details!['from'])).toBeLessThanOrEqual(lsn(start));
        expect(lsn(gap.details!['to'])).toBeGreaterThanOrEqual(lsn(end));
      });

      test.each([
        ['auto', 'a table without a key that comes later is captured as far as it can be'],
        ['manual', 'a second publication that the operator adds later is read too'],
      ] as const)('setup: %s: %s', async (setup, _what) => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using directory = await temporaryDirectory();
        await database.query('create table t (id int primary key)');
        const options = { url: database.url, data: directory.join('data') };
        {
          await using _ = await startCapture(options);
        }
        // As it is where somebody made the publication by hand.
        if (setup === 'manual') await database.query(`drop publication ${PUBLICATION}_insert`);
        await slotFree(database, SLOT);
        await using capture = await startCapture({ ...options, source: { setup } });
        await database.query('create table keyless (v int)');
        const attached = () =>
          capture.record((r) => r.action === 'attach' && r.object.table === 'keyless', 'keyless to be attached');
        if (setup === 'manual') {
          const needed = await until(() => capture.log.entries.find((e) => e['event'] === 'setup_needed'), {
            what: 'the statements to be said',
          });
          await database.query(String(needed['action']));
        }
        await attached();
        await database.query('insert into keyless values (7)');
        const records = await capture.caughtUp();
        expect(records.filter((r) => r.kind === 'change').map((r) => [r.object.table, r.action])).toEqual([
          ['keyless', 'insert'],
        ]);
        expect(gaps(records)).toEqual([]);
      });

      test('a slot dropped under the stream is made again, with a gap', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await database.query('create table t (id int primary key)');
        await using capture = await startCapture({ url: database.url });
        await insert(database, 1);
        await capture.caughtUp();
        await until(
          async () => {
            const kill = `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${SLOT}' and active`;
            await database.query(kill);
            await database.query(`select pg_drop_replication_slot('${SLOT}')`);
            return true;
          },
          { what: 'the slot to be dropped' },
        );
        const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
        expect(gap.details!['cause']).toBe('slot_missing');
        await capture.record(
          (record) => record.kind === 'capture' && record.action === 'start' && record.index > gap.index,
          'a start after the gap',
        );
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
      });
    });

    describe('damage to the data directory', () => {
      test.each([
        ['the position file', ['positions/shop.json']],
        ['the positions directory', ['positions']],
      ])('%s removed: nothing lost, nothing twice', async (_what, paths) => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        await insert(database, 2);
        for (const path of paths) await rm(join(capture.data, path), { recursive: true });
        await capture.start();
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 2, 3]);
        // The position that the file alone told is unknown now; that may be said, a loss may not.
        for (const gap of gaps(records)) expect(gap.details!['cause']).toBe('slot_advanced');
      });

      test('an old copy of the data directory is found to lack what the slot has passed', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url }, database);
        await using copies = await temporaryDirectory();
        cpSync(capture.data, copies.join('data'), { recursive: true });
        await capture.start();
        await insert(database, 2);
        expect(ids(await capture.caughtUp())).toEqual([1, 2]);
        await capture.stop();
        await using restored = await startCapture({ url: database.url, data: copies.join('data') });
        await insert(database, 3);
        const records = await restored.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        expect(theGap(records, 3)['cause']).toBe('slot_advanced');
      });

      test('a lost ledger is refused; one begun anew has a gap from the beginning', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using directory = await temporaryDirectory();
        const options = { url: database.url, data: directory.join('data') };
        {
          await using capture = await captured(options, database);
          rmSync(join(capture.data, 'ledger'), { recursive: true });
        }
        {
          await using refused = await startCapture({ ...options, waitForStream: false });
          await expect(refused.done).rejects.toMatchObject({ code: 'AUD_LEDGER_ROLLBACK' });
        }
        rmSync(join(options.data, 'ledger'), { recursive: true });
        await beginAnew(options.data, { now: Date.now });
        await using again = await startCapture(options);
        await insert(database, 3);
        const records = await again.caughtUp();
        expect(ids(records)).toEqual([3]);
        expect(records[0]!.details).toMatchObject({ cause: 'ledger_begun_anew' });
        const gap = gaps(records).find((record) => record.source.engine === 'postgres');
        expect(gap?.details).toMatchObject({ cause: 'ledger_restored', from: '0/0' });
        expect(gap!.index).toBeLessThan(records.find((record) => record.kind === 'change')!.index);
      });
    });

    describe('with setup: manual', () => {
      test('a lost slot ends the run with the way out, which leads on with a gap', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using directory = await temporaryDirectory();
        const options = { url: database.url, data: directory.join('data') };
        {
          await using _ = await captured(options, database);
        }
        await database.query(`select pg_drop_replication_slot('${SLOT}')`);
        await insert(database, 2);
        const manual = { ...options, source: { setup: 'manual' } as const, waitForStream: false };
        await using capture = await startCapture(manual);
        const error = await capture.done.then(
          () => null,
          (failure) => failure,
        );
        expect(error).toMatchObject({ code: 'AUD_PG_SLOT_LOST', retry: 'never' });
        expect(CODES.AUD_PG_SLOT_LOST.exit).toBe(3);
        const [, sql] = /Run: (.*?;)/.exec(error.action)!;
        await database.query(sql!);
        await capture.start();
        await until(async () => (await database.query('select 1 from pg_stat_replication')).rowCount, {
          what: 'the stream',
        });
        await insert(database, 3);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 3]);
        expect(theGap(records, 3)['cause']).toBe('slot_advanced');
      });

      test('a publication dropped under the stream ends the run with the statement that makes it again', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using directory = await temporaryDirectory();
        const options = { url: database.url, data: directory.join('data') };
        {
          await using _ = await captured(options, database);
        }
        await using capture = await startCapture({ ...options, source: { setup: 'manual' } });
        await database.query(`drop publication ${PUBLICATION}`);
        const error = await capture.done.then(
          () => null,
          (failure) => failure,
        );
        expect(error).toMatchObject({ code: 'AUD_PG_PUBLICATION_LOST' });
        expect(CODES.AUD_PG_PUBLICATION_LOST.exit).toBe(3);
        expect(error.action).toContain(`create publication "${PUBLICATION}" for table`);
      });

      test('a table taken out of the publication is a gap that is open until it is back', async () => {
        const server = await providePostgres({ major });
        await using database = await server.createDatabase();
        await using directory = await temporaryDirectory();
        const options = { url: database.url, data: directory.join('data') };
        {
          await using _ = await captured(options, database);
        }
        await using capture = await startCapture({ ...options, source: { setup: 'manual' } });
        await database.query(`alter publication ${PUBLICATION} drop table t`);
        await capture.record((record) => record.kind === 'gap' && record.details!['to'] === null, 'an open gap');
        await database.query(`alter publication ${PUBLICATION} add table t`);
        await capture.record((record) => record.kind === 'gap' && record.details!['to'] !== null, 'the gap closed');
        await insert(database, 3);
        expect(ids(await capture.caughtUp())).toEqual([1, 3]);
      });
    });

    test('an idle database keeps no log while others write, and nothing is recorded for it', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using other = await server.createDatabase();
      await database.query('create schema hidden; create table hidden.h (n int); create table t (id int primary key)');
      await other.query('create table o (n int)');
      await using capture = await startCapture({ url: database.url, marker: false });
      const before = capture.records().length;
      await database.query(
        'do $$ begin for i in 1..10000 loop insert into hidden.h values (i); commit; end loop; end $$',
      );
      await other.query('insert into o select generate_series(1, 20000)');
      await capture.caughtUp();
      const after = capture.records();
      expect(after.slice(before)).toEqual([]);
      await capture.stop();
      await capture.start();
      expect(gaps(await capture.caughtUp())).toEqual([]);
    });

    // About logs, not about versions: the newest is enough by default, for it takes servers that are stopped and started.
    const logs = major === postgresMajors().at(-1) || process.env['CHANGETRAIL_SLOW'] === '1';
    describe.runIf(logs)('another log behind the same url', () => {
      test('another cluster is a gap, and starts a new line of ids', async () => {
        const first = await providePostgres({ major });
        // Servers of one version are copies of one directory here, so they are one cluster to PostgreSQL.
        const second = await providePostgres({ major: major === 18 ? 14 : 18 });
        await using database = await first.createDatabase();
        await using twin = await second.createDatabase(database.name);
        await using link = await Link.start(first.port);
        await twin.query('create table t (id int primary key)');
        await using capture = await captured({ url: link.through(database.url), marker: false }, database);
        link.target = second.port;
        await capture.start();
        await twin.query('insert into t values (2)');
        const change = await capture.record((r) => (r.object.key as { id?: number })?.id === 2, 'row 2');
        expect(change.id).toMatch(/^shop@2:/);
        const gap = theGap(capture.records(), 2);
        expect(gap).toMatchObject({ cause: 'other_cluster', lineage_reset: true });
        await capture.stop();
        await capture.start();
        await twin.query('insert into t values (3)');
        await capture.record((r) => (r.object.key as { id?: number })?.id === 3, 'row 3');
        expect(ids(capture.records())).toEqual([1, 2, 3]);
        theGap(capture.records(), 2);
      });

      test('a promotion that had everything goes on without a gap; one that lacks the end does not', async () => {
        await using server = await providePostgres({ major, fresh: true, settings: { restore_command: 'false' } });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url, marker: false }, database);
        await server.stop('fast');
        promoteAtStart(server);
        await server.start();
        await capture.start();
        await insert(database, 2);
        expect(ids(await capture.caughtUp())).toEqual([1, 2]);
        expect(gaps(capture.records())).toEqual([]);
        await capture.stop();

        await server.stop('fast');
        await using copies = await temporaryDirectory();
        await runCommand('cp', ['-Rp', server.dataDir!, copies.join('old')]);
        await server.start();
        await capture.start();
        await insert(database, 3);
        expect(ids(await capture.caughtUp())).toEqual([1, 2, 3]);
        await capture.stop();
        await server.stop('fast');
        await restoreData(server, copies.join('old'));
        promoteAtStart(server);
        await server.start();
        await capture.start();
        await insert(database, 4);
        const records = await capture.caughtUp();
        expect(ids(records)).toEqual([1, 2, 3, 4]);
        expect(theGap(records, 4)).toMatchObject({ cause: 'timeline_diverged', lineage_reset: true });
        expect(records.find((r) => (r.object.key as { id?: number })?.id === 4)?.id).toMatch(/^shop@2:/);
      });

      test('a server restored from an older copy of its files is a gap', async () => {
        await using server = await providePostgres({ major, fresh: true });
        await using database = await server.createDatabase();
        await using capture = await captured({ url: database.url, marker: false }, database);
        await server.stop('fast');
        await using copies = await temporaryDirectory();
        await runCommand('cp', ['-Rp', server.dataDir!, copies.join('old')]);
        await server.start();
        await capture.start();
        await database.query('insert into t select generate_series(2, 100)');
        await capture.caughtUp();
        await capture.stop();
        await server.stop('fast');
        await restoreData(server, copies.join('old'));
        await server.start();
        await capture.start();
        await insert(database, 101);
        const records = await capture.caughtUp();
        expect(theGap(records, 101)).toMatchObject({ cause: 'server_behind', lineage_reset: true });
        expect(ids(records)).toEqual(Array.from({ length: 101 }, (_, i) => i + 1));
      });
    });
  });
}

/** At its next start the server reads its log to the end and goes on on a new timeline, as a promoted standby does. */
function promoteAtStart(server: PostgresServer): void {
  const file = join(server.dataDir!, 'recovery.signal');
  writeFileSync(file, '');
  const { uid, gid } = statSync(server.dataDir!);
  if (process.getuid?.() === 0) chownSync(file, uid, gid);
}

/** Puts an older copy of a stopped server's files in their place. */
async function restoreData(server: PostgresServer, copy: string): Promise<void> {
  rmSync(server.dataDir!, { recursive: true });
  await runCommand('cp', ['-Rp', copy, server.dataDir!]);
}
