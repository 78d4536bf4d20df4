// Somebody has our publication leave something out: rows by a filter, columns by a list, kinds of changes by its `publish` option. The
// stream goes on and looks healthy, so it must be found, said with the table and what is not seen, and put right where that is allowed.
import { describe, expect, test } from 'vitest';
import { checkPostgres } from '../../connectors/postgres/check.ts';
import { postgresOptions, resolvePostgres } from '../../connectors/postgres/options.ts';
import { type AuditRecord, type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { lsn, position, slotFree } from './support/log.ts';

const PUBLICATION = 'changetrail_shop';

interface Damage {
  readonly what: string;
  /** Done in one transaction. */
  readonly sql: string;
  readonly cause: string;
  readonly table?: string;
  readonly notSeen: readonly string[];
  /** What of `insert (2); update 1; delete 9; truncate k` is still seen of each. */
  readonly seen: readonly string[];
}

const again = (how: string) =>
  `alter publication ${PUBLICATION} drop table t; alter publication ${PUBLICATION} add table t ${how}`;

const SINCE_15: readonly Damage[] = [
  {
    what: 'a row filter',
    sql: again('where (id > 100)'),
    cause: 'row_filter',
    table: 't',
    notSeen: ['rows'],
    seen: ['k truncate'],
  },
  {
    what: 'a column list',
    sql: again('(id, "V v")'),
    cause: 'column_list',
    table: 't',
    notSeen: ['columns.secret'],
    seen: ['t insert', 't update', 't delete', 'k truncate'],
  },
];

const ALWAYS: readonly Damage[] = [
  {
    what: 'a publish option without delete and update',
    sql: `alter publication ${PUBLICATION} set (publish = 'insert, truncate')`,
    cause: 'publication_altered',
    notSeen: ['update', 'delete'],
    seen: ['t insert', 'k truncate'],
  },
  {
    what: 'a publish option without truncate on the second publication',
    sql: `alter publication ${PUBLICATION}_insert set (publish = 'insert')`,
    cause: 'publication_altered',
    notSeen: ['truncate'],
    seen: ['t insert', 't update', 't delete'],
  },
];

const SCHEMA = `create table t (id int primary key, "V v" int, secret text); create table k (v int);
  insert into t values (1, 1, 'a'), (9, 9, 'i'); insert into k values (1)`;
const WRITES = `insert into t values (2, 2, 'b'); update t set "V v" = 5 where id = 1; delete from t where id = 9; truncate k`;
const LATER = `insert into t values (3, 3, 'c'); update t set secret = 'z' where id = 3; delete from t where id = 3; truncate k`;

const asText = (records: readonly AuditRecord[]) =>
  records.filter((record) => record.kind === 'change').map((record) => `${record.object.table} ${record.action}`);

const inOrder = (...places: unknown[]) => places.every((place, i) => i === 0 || lsn(places[i - 1]) <= lsn(place));

const gapsOf = (records: readonly AuditRecord[]) => records.filter((record) => record.kind === 'gap');

function expectSaid(capture: Capture, gap: AuditRecord, damage: Damage): void {
  const { cause, notSeen, table } = damage;
  expect(gap).toMatchObject({ outcome: 'unknown', details: { cause, not_seen: notSeen } });
  expect(gap.object.table).toBe(table);
  const said = capture.log.entries.find((entry) => entry['event'] === 'gap' && entry['cause'] === cause);
  expect(said).toMatchObject({ level: 50, msg: expect.stringContaining(table ?? 'changetrail_shop') });
}

for (const major of postgresMajors()) {
  const damages = [...(major >= 15 ? SINCE_15 : []), ...ALWAYS];

  describe.skipIf(await postgresMissing(major))(`what a publication of PostgreSQL ${major} leaves out`, () => {
    async function prepared(): Promise<TestDatabase> {
      const server = await providePostgres({ major });
      const database = await server.createDatabase();
      await database.query(SCHEMA);
      return database;
    }

    test.each(damages)('$what, under the stream: found, said, put right', async (damage) => {
      await using database = await prepared();
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      const start = await position(database);
      await database.query(`${damage.sql}; ${WRITES}`);
      const end = await position(database);
      const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
      expectSaid(capture, gap, damage);
      expect(inOrder(gap.details!['from'], start, end)).toBe(true);
      expect(inOrder(start, end, gap.details!['to'])).toBe(true);
      await database.query(LATER);
      const records = await capture.caughtUp();
      expect(asText(records)).toEqual([...damage.seen, 't insert', 't update', 't delete', 'k truncate']);
      expect(records.findLast((record) => record.action === 'update')?.after).toMatchObject({ secret: 'z' });
      expect(gapsOf(records)).toHaveLength(1);
    });

    test.each(damages)('$what, while capture is stopped: found at the start, said, put right', async (damage) => {
      await using database = await prepared();
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      await capture.stop();
      await slotFree(database, PUBLICATION);
      const start = await position(database);
      await database.query(`${damage.sql}; ${WRITES}`);
      const end = await position(database);
      await capture.start();
      await database.query(LATER);
      const records = await capture.caughtUp();
      expect(asText(records)).toEqual([...damage.seen, 't insert', 't update', 't delete', 'k truncate']);
      const [gap, ...more] = gapsOf(records);
      expect(more).toEqual([]);
      expectSaid(capture, gap!, damage);
      expect(inOrder(gap!.details!['from'], start, end)).toBe(true);
      expect(inOrder(start, end, gap!.details!['to'])).toBe(true);
      expect(records.findIndex((record) => record.kind === 'change')).toBeGreaterThan(records.indexOf(gap!));
    });

    test.each(damages)(
      '$what, with setup: manual: an open gap and an error of doctor until the SQL is run',
      async (damage) => {
        await using database = await prepared();
        await using directory = await temporaryDirectory();
        const options = { url: database.url, data: directory.join('data') };
        {
          await using _ = await startCapture(options);
        }
        await slotFree(database, PUBLICATION);
        await using capture = await startCapture({ ...options, source: { setup: 'manual' } });
        await database.query(damage.sql);
        const open = await capture.record((record) => record.kind === 'gap', 'an open gap');
        expectSaid(capture, open, damage);
        expect(open.details!['to']).toBeNull();
        const source = postgresOptions.parse({
          type: 'postgres',
          url: database.url,
          tables: ['public.*', 'changetrail_marker.mark'],
        });
        const { items } = await checkPostgres(resolvePostgres('shop', source));
        const errors = items.filter((item) => item.level === 'error');
        expect(errors).toEqual([
          { name: 'publication', level: 'error', detail: expect.any(String), fix: expect.any(String) },
        ]);
        for (const path of [...damage.notSeen.filter((one) => one !== 'rows'), damage.table ?? PUBLICATION]) {
          expect(errors[0]!.detail).toContain(path.replace('columns.', ''));
        }
        const needed = await until(() => capture.log.entries.find((e) => e['event'] === 'setup_needed'), {
          what: 'the statements to be said',
        });
        expect(needed['action']).toBe(errors[0]!.fix!.replaceAll('; ', ';\n           '));
        await database.query(errors[0]!.fix!);
        const closed = await capture.record(
          (record) => record.kind === 'gap' && record.details!['to'] !== null,
          'its end',
        );
        expect(closed.details).toMatchObject({
          cause: damage.cause,
          from: open.details!['from'],
          not_seen: damage.notSeen,
        });
        await database.query(LATER);
        expect(asText(await capture.caughtUp())).toEqual(['t insert', 't update', 't delete', 'k truncate']);
      },
    );

    describe('what was left out for a while and is as it was before anybody looked', () => {
      const PASSING: readonly (Pick<Damage, 'what' | 'cause' | 'table'> & { readonly sql: readonly string[] })[] = [
        {
          what: 'a table taken out and put back',
          cause: 'table_unpublished',
          table: 't',
          sql: [
            `alter publication ${PUBLICATION} drop table t`,
            WRITES,
            `alter publication ${PUBLICATION} add table t`,
          ],
        },
        {
          what: 'a publish option narrowed and widened',
          cause: 'publication_altered',
          sql: [
            `alter publication ${PUBLICATION} set (publish = 'insert')`,
            WRITES,
            `alter publication ${PUBLICATION} set (publish = 'insert, update, delete, truncate')`,
          ],
        },
      ];

      async function happens(database: TestDatabase, sql: readonly string[]): Promise<[string, string]> {
        const start = await position(database);
        for (const statement of sql) await database.query(statement);
        return [start, await position(database)];
      }

      function expectPassed(capture: Capture, gap: AuditRecord, passing: (typeof PASSING)[number]): void {
        expectSaid(capture, gap, {
          ...passing,
          sql: '',
          seen: [],
          notSeen: ['insert', 'update', 'delete', 'truncate'],
        });
      }

      test.each(PASSING)('$what, under the stream', async (passing) => {
        await using database = await prepared();
        await using capture = await startCapture({ url: database.url, source: { check_interval: 4 } });
        await capture.caughtUp();
        const [start, end] = await happens(database, passing.sql);
        const gap = await capture.record((record) => record.kind === 'gap', 'a gap');
        expectPassed(capture, gap, passing);
        expect(inOrder(gap.details!['from'], start, end, gap.details!['to'])).toBe(true);
        await database.query(LATER);
        const records = await capture.caughtUp();
        expect(asText(records).slice(-4)).toEqual(['t insert', 't update', 't delete', 'k truncate']);
        expect(gapsOf(records)).toHaveLength(1);
      });

      test.each(PASSING)('$what, while capture is stopped', async (passing) => {
        await using database = await prepared();
        await using capture = await startCapture({ url: database.url });
        await capture.caughtUp();
        await capture.stop();
        await slotFree(database, PUBLICATION);
        const [start, end] = await happens(database, passing.sql);
        await capture.start();
        await database.query(LATER);
        const records = await capture.caughtUp();
        const [gap, ...more] = gapsOf(records);
        expect(more).toEqual([]);
        expectPassed(capture, gap!, passing);
        expect(inOrder(gap!.details!['from'], start, end, gap!.details!['to'])).toBe(true);
        expect(records.findIndex((record) => record.kind === 'change')).toBeGreaterThan(records.indexOf(gap!));
      });
    });

    test('what was put back before a start is said once, however often the start fails', async () => {
      await using database = await prepared();
      await using directory = await temporaryDirectory();
      const options = { url: database.url, data: directory.join('data') };
      {
        await using _ = await startCapture(options);
      }
      await slotFree(database, PUBLICATION);
      await database.query(`alter publication ${PUBLICATION} drop table t`);
      await database.query(`alter publication ${PUBLICATION} add table t`);
      await database.query('create table later (id int primary key)');
      for (const _ of [1, 2]) {
        await using failing = await startCapture({ ...options, source: { setup: 'manual' }, waitForStream: false });
        await until(() => failing.failure, { what: 'the start to fail' });
        expect(failing.failure).toMatchObject({ code: 'AUD_PG_SETUP' });
      }
      await using capture = await startCapture(options);
      const gaps = gapsOf(await capture.caughtUp());
      expect(gaps.map(({ details }) => details!['cause'])).toEqual(['table_unpublished']);
    });

    test('a publication that gets another owner loses nothing', async () => {
      await using database = await prepared();
      await using capture = await startCapture({ url: database.url });
      await capture.caughtUp();
      const role = `owner_${database.name}`;
      await database.query(`create role ${role} superuser; alter publication ${PUBLICATION} owner to ${role}`);
      await database.query('create table later (id int primary key)');
      await capture.record(({ action, object }) => action === 'attach' && object.table === 'later', 'a look');
      await database.query(`reassign owned by ${role} to current_user; drop role ${role}`);
      await database.query('create table latest (id int primary key)');
      await capture.record(({ action, object }) => action === 'attach' && object.table === 'latest', 'a look');
      expect(gapsOf(await capture.caughtUp())).toEqual([]);
    });

    test('what capture has no right to put right is said, and over when somebody has', async () => {
      await using database = await prepared();
      const role = `replicator_${database.name}`;
      await database.query(`create role ${role} login replication`);
      const as = new URL(database.url);
      as.username = role;
      await using directory = await temporaryDirectory();
      const options = { url: database.url, data: directory.join('data') };
      {
        await using _ = await startCapture(options);
      }
      await slotFree(database, PUBLICATION);
      await using capture = await startCapture({ ...options, as: as.href });
      await database.query(`alter publication ${PUBLICATION} set (publish = 'insert')`);
      const open = await capture.record((record) => record.kind === 'gap', 'an open gap');
      expect(open.details).toMatchObject({ to: null, not_seen: ['update', 'delete', 'truncate'] });
      const failed = await until(() => capture.log.entries.find((e) => e['event'] === 'watch_failed'), {
        what: 'the refusal to be said',
      });
      expect(failed).toMatchObject({ code: 'AUD_PG_RIGHTS', msg: expect.stringMatching(/must be owner/) });
      await database.query(`alter publication ${PUBLICATION} set (publish = 'insert, update, delete, truncate')`);
      await capture.record((record) => record.kind === 'gap' && record.details!['to'] !== null, 'its end');
      await capture.stop();
      await database.query(`drop owned by ${role}; drop role ${role}`);
    });

    test.runIf(major >= 15)(
      'a whole schema added to the publication: later tables without a key go on taking writes',
      async () => {
        await using database = await prepared();
        await using capture = await startCapture({ url: database.url });
        await database.query(`alter publication ${PUBLICATION} add tables in schema public`);
        const sql = 'select 1 from pg_publication_namespace';
        await until(async () => (await database.query(sql)).rows.length === 0, { what: 'the schema to be taken out' });
        await database.query('create table later (v int); insert into later values (1); update later set v = 2');
        await database.query(WRITES);
        const records = await capture.caughtUp();
        expect(asText(records)).toEqual(expect.arrayContaining(['t insert', 't update', 't delete', 'k truncate']));
        expect(gapsOf(records)).toEqual([]);
      },
    );

    test.runIf(major >= 15)(
      'two column lists that the server cannot reconcile: a gap, and on with a new slot',
      async () => {
        await using database = await prepared();
        await using capture = await startCapture({ url: database.url });
        await capture.caughtUp();
        await database.query(`${again('(id)')}; alter publication ${PUBLICATION}_insert add table t (id, secret)`);
        await database.query("insert into t values (2, 2, 'b')");
        const said = await capture.record(
          (record) => record.kind === 'gap' && record.details!['cause'] === 'publication_unusable',
          'a gap of the whole source',
        );
        await until(
          async () => {
            await database.query('delete from t where id = 3; insert into t values (3, 3, null)');
            return (await capture.changes('t')).some((record) => (record.object.key as { id: number }).id === 3);
          },
          { what: 'a change to be captured again', timeoutMs: 60_000 },
        );
        const records = capture.records();
        const change = records.find((record) => (record.object.key as { id?: number } | undefined)?.id === 3)!;
        expect(said.index).toBeLessThan(change.index);
      },
    );
  });
}
