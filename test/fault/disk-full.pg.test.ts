import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gapsOf, lsnOf, readLedger } from '../e2e/support/ledger-view.ts';
import { LOAD_SCHEMA, LOAD_TABLES, Load, seedFromEnvironment } from '../e2e/support/load.ts';
import { TrailProcess, writeConfig } from '../e2e/support/trail-process.ts';
import { expectExactly, untilConfirmed, watchTruth } from '../e2e/support/truth.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { smallDisk } from './support/small-disk.ts';

const MIB = 1 << 20;

describe('a disk that is full', async () => {
  const major = postgresMajors().at(-1)!;

  test.skipIf(await postgresMissing(major))(
    'stops capture with a clear error, confirms nothing beyond what is durable, and with room again nothing is lost',
    { timeout: 240_000 },
    async () => {
      const seed = seedFromEnvironment();
      using disk = smallDisk(2 * MIB);
      console.log(`disk full by ${disk.kind}: CHANGETRAIL_TEST_SEED=${seed}`);
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query(LOAD_SCHEMA);
      const slot = 'changetrail_shop';
      const config = writeConfig(disk.path, { url: database.url });
      const data = join(disk.path, 'data');
      {
        await using first = TrailProcess.launch(['run', '--config', config]);
        await first.streaming();
        expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
      }
      await watchTruth(database, LOAD_TABLES);
      const load = new Load({ url: database.url, seed, connections: 2 });
      try {
        for (const size of [2, 3, 4]) {
          disk.grow(size * MIB);
          await using trail = TrailProcess.launch(['run', '--config', config], { wrapper: disk.wrapper });
          const exit = await trail.ended(120_000);
          expect(exit, trail.stderr).toMatchObject({ code: 3 });
          expect(trail.stderr).toContain('AUD_LEDGER_WRITE');
          expect(trail.stderr).toContain(disk.kind === 'tmpfs' ? 'ENOSPC' : 'EFBIG');
          expect(trail.stderr).not.toMatch(/^\s+at /m);
          await expectNothingConfirmedBeyond(data, database, slot);
        }
      } finally {
        await load.stop();
      }
      disk.grow(400 * MIB);
      {
        await using last = TrailProcess.launch(['run', '--config', config]);
        await untilConfirmed(database, slot, last);
        expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
      }
      const records = readLedger(data);
      await expectExactly(records, database, LOAD_TABLES);
      expect(gapsOf(records)).toEqual([]);
    },
  );
});

/** What the server was told is not beyond the ledger's last record and the position file. */
async function expectNothingConfirmedBeyond(
  data: string,
  database: { query(sql: string, params: readonly unknown[]): Promise<{ rows: { lsn: string }[] }> },
  slot: string,
): Promise<void> {
  const sql = 'select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = $1';
  const { rows } = await database.query(sql, [slot]);
  const last = readLedger(data).findLast((record) => record.source.seq !== undefined);
  const saved = JSON.parse(readFileSync(join(data, 'positions', 'shop.json'), 'utf8')) as { position: string };
  const known = [last?.source.lsn, ...saved.position.split(' ')].filter((text) => text !== undefined).map(lsnOf);
  expect(known.some((lsn) => lsn >= lsnOf(rows[0]!.lsn))).toBe(true);
}
