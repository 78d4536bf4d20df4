import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { changesOf, checkLedger, gapsOf, readLedger } from './support/ledger-view.ts';
import { TrailProcess, writeConfig } from './support/trail-process.ts';
import { untilConfirmed } from './support/truth.ts';

const ROWS = 50_000;
const SLOT = 'changetrail_shop';

/** Bytes of all segments. */
function ledgerSize(data: string): number {
  const segments = join(data, 'ledger', 'segments');
  return readdirSync(segments).reduce((sum, name) => sum + statSync(join(segments, name)).size, 0);
}

describe.each(postgresMajors())('PostgreSQL %i', async (major) => {
  const skip = await postgresMissing(major);

  test.skipIf(skip)(
    'killed in the middle of a large transaction, it goes on with the next row, the same actor and the same ordinals',
    { timeout: 180_000 },
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query('create table t (id int primary key, v text)');
      const config = writeConfig(directory.path, { url: database.url });
      const data = directory.join('data');
      const run = () => TrailProcess.launch(['run', '--config', config]);
      {
        await using first = run();
        await first.streaming();
        expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
      }
      await database.query(`begin;
        select pg_logical_emit_message(true, 'changetrail', '{"id":"alice","reason":"first half"}');
        insert into t select g, repeat('x', 100) from generate_series(1, ${ROWS / 2}) g;
        select pg_logical_emit_message(true, 'changetrail', '{"id":"bob","reason":"second half"}');
        insert into t select g, repeat('x', 100) from generate_series(${ROWS / 2 + 1}, ${ROWS}) g;
        commit;`);
      const before = ledgerSize(data);
      const counts: number[] = [];
      for (const part of [1 << 20, 5 << 20, 16 << 20]) {
        await using trail = run();
        while (trail.exit === null && ledgerSize(data) < before + part) await setImmediate();
        await trail.kill9();
        counts.push(changesOf(readLedger(data)).length);
      }
      // At least one kill came in the middle; on a fast machine the last one may find all of it written.
      expect(counts.some((count) => count > 0 && count < ROWS)).toBe(true);
      {
        await using last = run();
        await untilConfirmed(database, SLOT, last);
        expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
      }
      const records = readLedger(data);
      checkLedger(records);
      expect(gapsOf(records)).toEqual([]);
      const changes = changesOf(records);
      expect(changes.length).toBe(ROWS);
      const wrong = changes.find((change, i) => {
        const [actor, reason] = i < ROWS / 2 ? ['alice', 'first half'] : ['bob', 'second half'];
        return (
          change.source.seq !== i ||
          (change.object.key as { id: number }).id !== i + 1 ||
          change.actor?.id !== actor ||
          change.context?.['reason'] !== reason
        );
      });
      expect(wrong).toBeUndefined();
    },
  );

  test.skipIf(skip)(
    'killed right after transactions without a record, it finds no gap where there is none',
    { timeout: 120_000 },
    async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await using directory = await temporaryDirectory();
      await database.query('create table t (id int primary key); create schema hidden; create table hidden.h (n int)');
      const config = writeConfig(directory.path, { url: database.url });
      {
        await using trail = TrailProcess.launch(['run', '--config', config]);
        await trail.streaming();
        await database.query('insert into t values (1)');
        // Empty for the publication, and a message that says nothing of a row: the log moves on, the ledger does not.
        await database.query(
          'do $$ begin for i in 1..3000 loop insert into hidden.h values (i); commit; end loop; end $$',
        );
        await database.query(`select pg_logical_emit_message(true, 'somebody', 'x')`);
        await untilConfirmed(database, SLOT, trail);
        await database.query(
          'do $$ begin for i in 1..3000 loop insert into hidden.h values (i); commit; end loop; end $$',
        );
        await trail.kill9();
      }
      await using again = TrailProcess.launch(['run', '--config', config]);
      await again.streaming();
      await database.query('insert into t values (2)');
      await untilConfirmed(database, SLOT, again);
      expect(await again.stop(), again.stderr).toMatchObject({ code: 0 });
      const records = readLedger(directory.join('data'));
      checkLedger(records);
      expect(gapsOf(records)).toEqual([]);
      expect(changesOf(records).length).toBe(2);
    },
  );
});
