// Large values and large transactions, in a process of their own whose memory is measured.
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { listSegments } from '../../src/ledger/layout.ts';
import { type AuditRecord, recordSchema } from '../../src/record/schema.ts';
import { TrailProcess, writeConfig } from '../e2e/support/trail-process.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';

const SLOW = process.env['CHANGETRAIL_SLOW'] === '1';
const VALUE_BYTES = (SLOW ? 100 : 20) << 20;
const ROWS = SLOW ? 1_000_000 : 100_000;
/** Highest resident memory of the process in MiB, whatever the size of the transaction. */
const PEAK_MIB = 300;
/** A message is held whole: with two values of 100 MB in it (an update of one under FULL) 100 MiB more. */
const PEAK_OF_TWO_MIB = SLOW ? 400 : PEAK_MIB;
const WAIT_MS = 600_000;

/** The most the process has had in memory, in MiB; undefined where the system does not tell. */
function peakMib(pid: number): number | undefined {
  const path = `/proc/${pid}/status`;
  const match = existsSync(path) ? /VmHWM:\s+(\d+) kB/.exec(readFileSync(path, 'utf8')) : null;
  return match === null ? undefined : Number(match[1]) / 1024;
}

/** Every record of the ledger, one after the other. */
async function* records(directory: TemporaryDirectory): AsyncGenerator<AuditRecord> {
  for (const { path } of listSegments(directory.join('data', 'ledger', 'segments'))) {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      yield recordSchema.parse(JSON.parse(line));
    }
  }
}

/** Runs the program on a database; gives its peak of memory in MiB after each statement, once that stands in the ledger. */
async function captured(
  major: ReturnType<typeof postgresMajors>[number],
  directory: TemporaryDirectory,
  setup: string,
  work: readonly string[],
): Promise<(number | undefined)[]> {
  const server = await providePostgres({ major });
  await using database = await server.createDatabase();
  await database.query(setup);
  await database.query('create table done (id serial primary key)');
  const config = writeConfig(directory.path, { url: database.url });
  await using trail = TrailProcess.launch(['run', '--config', config]);
  await trail.streaming();
  const caughtUp = async () => {
    await database.query('insert into done default values');
    const { rows } = await database.query('select pg_current_wal_insert_lsn()::text as lsn');
    const sql = 'select 1 from pg_replication_slots where database = current_database() and confirmed_flush_lsn >= $1';
    await until(async () => trail.exit !== null || (await database.query(sql, [rows[0].lsn])).rows.length > 0, {
      what: 'all to be captured',
      timeoutMs: WAIT_MS,
    });
    expect(trail.exit, trail.stderr.slice(-2000)).toBeNull();
  };
  const peaks: (number | undefined)[] = [];
  for (const statement of work) {
    await database.query(statement);
    await caughtUp();
    peaks.push(peakMib(trail.pid));
  }
  expect(trail.count('source_waiting'), trail.stderr.slice(-2000)).toBe(0);
  await trail.stop();
  return peaks;
}

function expectPeaks(peaks: readonly (number | undefined)[], limit: number): void {
  for (const peak of peaks) {
    if (peak !== undefined) expect(peak, `peaks of resident memory in MiB: ${peaks}`).toBeLessThan(limit);
  }
}

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`large things of PostgreSQL ${major}`, () => {
    test(`a value of ${VALUE_BYTES >> 20} MB, inserted, kept, changed and deleted under REPLICA IDENTITY FULL`, {
      timeout: WAIT_MS,
    }, async () => {
      await using directory = await temporaryDirectory();
      const piece = '0123456789abcde"';
      const big = (text: string) => `repeat('${text}', ${VALUE_BYTES / text.length})`;
      const peaks = await captured(
        major,
        directory,
        'create table t (id int primary key, v int, big text); alter table t alter big set storage external; alter table t replica identity full',
        [
          `insert into t values (1, 1, ${big(piece)})`,
          'update t set v = 2',
          `update t set big = ${big('fedcba9876543210')}`,
          'delete from t',
        ],
      );
      const before = piece.repeat(VALUE_BYTES / piece.length);
      const after = 'fedcba9876543210'.repeat(VALUE_BYTES / 16);
      const seen: string[] = [];
      for await (const record of records(directory)) {
        if (record.kind !== 'change' || record.object.table !== 't') continue;
        const which = (row: unknown) => {
          const value = (row as { big?: string } | undefined)?.big;
          return value === before ? 'first' : value === after ? 'second' : String(value?.length);
        };
        seen.push(`${record.action} ${record.changed ?? ''} ${which(record.before)} ${which(record.after)}`);
      }
      expect(seen).toEqual([
        'insert  undefined first',
        'update v first first',
        'update big first second',
        'delete  second undefined',
      ]);
      expectPeaks(peaks.slice(0, 2), PEAK_MIB);
      expectPeaks(peaks.slice(2), PEAK_OF_TWO_MIB);
    });

    test(`a transaction of ${ROWS} rows`, { timeout: WAIT_MS }, async () => {
      await using directory = await temporaryDirectory();
      const peaks = await captured(major, directory, 'create table t (id int primary key, v text)', [
        `begin; insert into t select i, 'row ' || i from generate_series(0, ${ROWS - 1}) i; commit`,
      ]);
      let next = 0;
      for await (const record of records(directory)) {
        if (record.kind !== 'change' || record.object.table !== 't') continue;
        if (record.source.seq !== next || (record.after as { id: number }).id !== next) break;
        next++;
      }
      expect(next).toBe(ROWS);
      expectPeaks(peaks, PEAK_MIB);
    });
  });
}
