import { execFileSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { REMOVE_SET_ACTOR_SQL, SET_ACTOR_SQL } from '../../src/context/sql.ts';
import { type PostgresMajor, postgresMajors, providePostgres } from '../support/provide.ts';
import { type AuditedDatabase, auditedDatabase, messagesOf, whoDidWhat } from './support/wal.ts';

async function installed(major: PostgresMajor): Promise<AuditedDatabase> {
  const database = await auditedDatabase('create table item (name text)', major);
  // Twice: installing again changes nothing.
  for (const sql of [...SET_ACTOR_SQL, ...SET_ACTOR_SQL]) await database.query(sql);
  return database;
}

/** Runs the statements in one transaction, as psql -1 does. */
const inOne = (database: AuditedDatabase, ...statements: string[]) =>
  database.query(`begin; ${statements.join('; ')}; commit`);

describe.each(postgresMajors())('changetrail.set_actor on PostgreSQL %i', (major) => {
  test('says who acts from here on in the transaction, and in no other', async () => {
    await using database = await installed(major);
    await inOne(
      database,
      "select changetrail.set_actor('alice')",
      "insert into item values ('a')",
      `select changetrail.set_actor('bob', type => 'support', on_behalf_of => 'carol', context => '{"ticket": 881}')`,
      "insert into item values ('b')",
    );
    await inOne(
      database,
      `select changetrail.set_actor('{"id": "job", "batch": [1], "gone": null}'::jsonb)`,
      "insert into item values ('c')",
    );
    await database.query("insert into item values ('d')");
    const transactions = await database.transactions();
    expect(whoDidWhat(transactions)).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'bob' },
      { text: 'c', actor: 'job' },
      { text: 'd', actor: null },
    ]);
    expect(messagesOf(transactions)).toEqual([
      { id: 'alice' },
      { id: 'bob', type: 'support', on_behalf_of: 'carol', ticket: 881 },
      { id: 'job', batch: [1] },
    ]);
  });

  test('needs no right but to call it, and does nothing where nothing can be written', async () => {
    await using database = await installed(major);
    const role = `r_${Math.random().toString(36).slice(2)}`;
    await database.query(`create role ${role}; grant insert on item to ${role}`);
    await inOne(
      database,
      `set local role ${role}`,
      "select changetrail.set_actor('alice')",
      "insert into item values ('a')",
    );
    await database.query("begin read only; select changetrail.set_actor('alice'); commit");
    await database.query(`drop owned by ${role}; drop role ${role}`);
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'a', actor: 'alice' }]);
  });

  test('refuses what is no object', async () => {
    await using database = await installed(major);
    for (const wrong of ['"alice"', '[]', 'null']) {
      await expect(database.query('select changetrail.set_actor($1::jsonb)', [wrong])).rejects.toMatchObject({
        code: '22023',
      });
    }
  });

  test('cuts to 64 KiB with a mark, keeping the actor', async () => {
    await using database = await installed(major);
    const many = Object.fromEntries(Array.from({ length: 3000 }, (_, n) => [`key${n}`, '日本'.repeat(20)]));
    const actors = [
      { id: 'alice', type: 'user', reason: '日'.repeat(100_000), list: ['x'.repeat(70_000)], kept: 1 },
      { ...many, id: 'bob' },
      { id: '\u0001'.repeat(70_000), ['k'.repeat(70_000)]: 1 },
    ];
    for (const actor of actors)
      await database.query('select changetrail.set_actor($1::jsonb)', [JSON.stringify(actor)]);
    const texts = (await database.transactions()).map(({ entries }) => String(entries[0]?.text));
    for (const text of texts) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(65_536);
    const [first, second, third] = texts.map((text) => JSON.parse(text) as Record<string, unknown>);
    expect(first).toEqual({
      id: 'alice',
      type: 'user',
      reason: '日'.repeat(128),
      kept: 1,
      truncated: ['list', 'reason'],
    });
    expect(second).toMatchObject({ id: 'bob', key0: '日本'.repeat(20) });
    expect(second?.['truncated']).toHaveLength(16);
    expect(third).toEqual({ id: '\u0001'.repeat(128), truncated: ['id', 'k'.repeat(64)] });
  });

  test('speaks UTF-8 in a database that does not', async () => {
    const server = await providePostgres({ major });
    const name = `latin_${Math.random().toString(36).slice(2)}`;
    await server.query(`create database ${name} encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'`);
    const client = new pg.Client({ connectionString: server.url(name) });
    await client.connect();
    try {
      for (const sql of SET_ACTOR_SQL) await client.query(sql);
      const { rows } = await client.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [name]);
      expect(rows).toHaveLength(1);
      await client.query('create publication p');
      await client.query('select changetrail.set_actor($1)', ['Zoë']);
      const read = await client.query(
        "select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')",
        [name],
      );
      const all = Buffer.concat(read.rows.map((row: { data: Buffer }) => row.data)).toString('utf8');
      expect(all).toContain('{"id": "Zoë"}');
      await client.query('select pg_drop_replication_slot($1)', [name]);
    } finally {
      await client.end();
      await server.query(`drop database ${name}`);
    }
  });

  test('is what changetrail setup --set-actor prints, to be piped into psql', async () => {
    await using database = await auditedDatabase('create table item (name text)', major);
    const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
    const printed = (...more: string[]) =>
      execFileSync(process.execPath, [main, 'setup', '--set-actor', ...more], { encoding: 'utf8' });
    await database.query(printed());
    await inOne(database, "select changetrail.set_actor('alice')", "insert into item values ('a')");
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'a', actor: 'alice' }]);
    await database.query(printed('--remove'));
    expect((await database.query("select to_regnamespace('changetrail') is null as gone")).rows).toEqual([
      { gone: true },
    ]);
  });

  test('is taken away without trace, but not what others put beside it', async () => {
    await using database = await installed(major);
    await database.query('create table changetrail.other ()');
    for (const sql of REMOVE_SET_ACTOR_SQL) await database.query(sql);
    expect((await database.query("select to_regnamespace('changetrail') is null as gone")).rows).toEqual([
      { gone: false },
    ]);
    await database.query('drop table changetrail.other');
    for (const sql of REMOVE_SET_ACTOR_SQL) await database.query(sql);
    expect((await database.query("select to_regnamespace('changetrail') is null as gone")).rows).toEqual([
      { gone: true },
    ]);
  });
});
