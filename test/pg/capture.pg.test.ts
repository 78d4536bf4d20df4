import { describe, expect, test } from 'vitest';
import { startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`capture of PostgreSQL ${major}`, () => {
    test('writes what is committed into the ledger, and goes on after a stop', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key, v text)');
      await using capture = await startCapture({ url: database.url });
      await database.query("insert into t values (1, 'a'); update t set v = 'b'; delete from t");
      expect((await capture.changes('t')).map((record) => record.action)).toEqual(['insert', 'update', 'delete']);
      await capture.stop();
      await database.query("insert into t values (2, 'c')");
      await capture.start();
      expect((await capture.changes('t')).map((record) => record.action)).toEqual([
        'insert',
        'update',
        'delete',
        'insert',
      ]);
      await capture.abort();
      await database.query("insert into t values (3, 'd')");
      await capture.start();
      expect((await capture.changes('t')).map((record) => record.object.key)).toEqual(
        [1, 1, 1, 2, 3].map((id) => ({ id })),
      );
    });

    test('without a marker waits for the confirmed position', async () => {
      const server = await providePostgres({ major });
      await using database = await server.createDatabase();
      await database.query('create table t (id int primary key)');
      await using capture = await startCapture({ url: database.url, marker: false });
      await database.query('insert into t values (1)');
      expect((await capture.changes()).map((record) => record.object)).toEqual([
        { schema: 'public', table: 't', key: { id: 1 } },
      ]);
    });
  });
}
