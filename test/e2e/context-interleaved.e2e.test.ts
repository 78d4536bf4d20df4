import pg from 'pg';
import postgres from 'postgres';
import { expect, test } from 'vitest';
import { withActor } from '../../src/context/index.ts';
import { attachActor } from '../../src/context/pg.ts';
import { attachActor as attachPostgresJs } from '../../src/context/postgres.ts';
import { startCapture } from '../support/capture.ts';
import { providePostgres } from '../support/provide.ts';

// Each row names who wrote it, so a record whose actor is another one is seen at once.
const SCHEMA = `create table entry (id int primary key generated always as identity, wrote text not null, note text);
  create table derived (id int primary key generated always as identity, wrote text not null);
  create function derive() returns trigger language plpgsql as
    'begin insert into derived (wrote) values (new.wrote); return new; end';
  create trigger derive after insert on entry for each row execute function derive()`;

test('200 transactions of both drivers, interleaved in the log, keep their own actors', async () => {
  const server = await providePostgres({ major: 18 });
  await using database = await server.createDatabase();
  await database.query(SCHEMA);
  await using capture = await startCapture({ url: database.url });
  const pool = attachActor(new pg.Pool({ connectionString: database.url, max: 10 }));
  const sql = attachPostgresJs(postgres(database.url, { max: 10, onnotice: () => {} }));
  const pause = () => new Promise((resolve) => setImmediate(resolve));

  const withPg = async (wrote: string, n: number) => {
    const client = await pool.connect();
    await client.query('begin');
    await client.query('insert into entry (wrote) values ($1)', [wrote]);
    await pause();
    await client.query('savepoint s');
    await client.query(`insert into entry (wrote) values ('${wrote}')`);
    if (n % 3 === 0) await client.query('rollback to s');
    await client.query({ name: 'noted', text: 'update entry set note = $2 where wrote = $1', values: [wrote, 'pg'] });
    // A second actor takes over in the middle of the same transaction.
    await withActor({ id: `${wrote}+` }, () => client.query('insert into entry (wrote) values ($1)', [`${wrote}+`]));
    await client.query(n % 10 === 4 ? 'rollback' : 'commit');
    client.release();
  };
  const withPostgresJs = async (wrote: string) => {
    await sql.begin(async (tx) => {
      await tx`insert into entry (wrote) values (${wrote})`;
      await pause();
      await tx`insert into entry ${tx([{ wrote }, { wrote }])}`;
    });
    await sql`update entry set note = 'postgres.js' where wrote = ${wrote}`;
  };
  await Promise.all(
    Array.from({ length: 200 }, (_, n) => {
      const id = `user-${n}`;
      return withActor({ id }, () => (n % 2 === 0 ? withPg(id, n) : withPostgresJs(id)));
    }),
  );
  await Promise.all([pool.end(), sql.end()]);

  const records = await capture.changes();
  expect(records.length).toBeGreaterThan(1000);
  const tables = new Set<string>();
  for (const { actor, after, object } of records) {
    expect(actor).toMatchObject({ id: (after as { wrote: string }).wrote, assurance: 'claimed', via: 'message' });
    tables.add((object as { table: string }).table);
  }
  expect([...tables].sort()).toEqual(['derived', 'entry']);
});
