import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import pg from 'pg';
import postgres from 'postgres';
import { expect, test } from 'vitest';
import { withActor } from '../../src/context/index.ts';
import { attachActor } from '../../src/context/pg.ts';
import { attachActor as attachPostgresJs } from '../../src/context/postgres.ts';
import { ORMS } from './support/orms.ts';
import { type AuditedDatabase, auditedDatabase, whoDidWhat } from './support/wal.ts';

/** A server in front of the database that counts how often the client spoke after the server had. */
interface Counter {
  readonly url: string;
  readonly server: Server;
  roundTrips: number;
}

async function countRoundTrips(database: AuditedDatabase): Promise<Counter> {
  const target = new URL(database.url);
  const [port, host] = [Number(target.port), target.hostname];
  let serverSpoke = true;
  const server = createServer((client) => {
    const upstream = connect(port, host);
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    client.on('data', (chunk) => {
      if (serverSpoke) counter.roundTrips++;
      serverSpoke = false;
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      serverSpoke = true;
      client.write(chunk);
    });
    client.on('close', () => upstream.destroy()).on('error', () => {});
    upstream.on('close', () => client.destroy()).on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  target.hostname = '127.0.0.1';
  target.port = String((server.address() as AddressInfo).port);
  const counter: Counter = { url: target.href, server, roundTrips: 0 };
  return counter;
}

const alice = { id: 'alice', type: 'user' };

async function countIn(counter: Counter, work: () => Promise<unknown>): Promise<number> {
  const before = counter.roundTrips;
  await work();
  return counter.roundTrips - before;
}

test('pg: the message costs no round trip, in a transaction and outside of one', async () => {
  await using database = await auditedDatabase('create table item (name text)');
  const counter = await countRoundTrips(database);
  const pool = attachActor(new pg.Pool({ connectionString: counter.url, max: 1 }));
  await pool.query('select 1');
  const count = (work: () => Promise<unknown>) => countIn(counter, work);
  await withActor(alice, async () => {
    expect(await count(() => pool.query('insert into item values ($1)', ['a']))).toBe(1);
    expect(await count(() => pool.query("insert into item values ('b')"))).toBe(1);
    const client = await pool.connect();
    expect(await count(() => client.query('begin'))).toBe(1);
    expect(await count(() => client.query('insert into item values ($1)', ['c']))).toBe(1);
    expect(await count(() => client.query('commit'))).toBe(1);
    client.release();
  });
  await pool.end();
  counter.server.close();
  expect(whoDidWhat(await database.transactions())).toHaveLength(3);
});

test('postgres.js: a statement outside of a transaction is still one flight, and so is the first one inside', async () => {
  await using database = await auditedDatabase('create table item (name text)');
  const counter = await countRoundTrips(database);
  const sql = attachPostgresJs(postgres(counter.url, { max: 1 }));
  const insert = (name: string, on = sql as postgres.Sql) => on`insert into item values (${name})`;
  const count = (work: () => Promise<unknown>) => countIn(counter, work);
  await withActor(alice, async () => {
    await insert('warm up: the statement is prepared');
    expect(await count(() => insert('a'))).toBe(1);
    expect(await count(() => sql.begin((tx) => insert('b', tx as unknown as postgres.Sql)))).toBe(3);
  });
  await sql.end();
  counter.server.close();
  expect(whoDidWhat(await database.transactions()).every(({ actor }) => actor === 'alice')).toBe(true);
});

/** Drizzle's statements on postgres.js are described before they run: `commit` cannot be written behind them at once. */
const COMMITS_APART = 'drizzle on postgres.js';

test.each(Object.entries(ORMS))('%s: as many round trips with an actor as without one', async (library, open) => {
  await using database = await auditedDatabase('create table item (name text primary key, n int default 0)');
  const counter = await countRoundTrips(database);
  const orm = await open(counter.url);
  const work: Record<string, (name: string) => Promise<unknown>> = {
    'one insert': (name) => orm.insert(name),
    'one update': (name) => orm.update(name.replace('update', 'insert'), 1),
    'a transaction': (name) => orm.transaction([`${name}/1`, `${name}/2`]),
  };
  for (const [what, run] of Object.entries(work)) {
    // Connecting, loading types and preparing cost round trips of their own.
    await run(`${what} null`);
    await withActor(alice, () => run(`${what} alice`));
    const without = await countIn(counter, () => run(`${what} null again`));
    const withOne = await countIn(counter, () => withActor(alice, () => run(`${what} alice again`)));
    const apart = library === COMMITS_APART && what !== 'a transaction' ? 1 : 0;
    expect(withOne, what).toBe(without + apart);
  }
  await orm.close();
  counter.server.close();
  for (const { text, actor } of whoDidWhat(await database.transactions())) {
    expect(text).toContain(String(actor));
  }
});
