// Behind a transaction pooler: many requests share one connection of the server, and none gets another one's actor.
import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseClaim } from '../../src/context/claim.ts';
import { createSigner, withActor } from '../../src/context/index.ts';
import { attachActor } from '../../src/context/pg.ts';
import { attachActor as attachPostgresJs } from '../../src/context/postgres.ts';
import { providePostgres } from '../support/provide.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { ORMS, type Orm } from './support/orms.ts';
import { type AuditedDatabase, auditedDatabase, whoDidWhat } from './support/wal.ts';

const SCHEMA = 'create table item (name text primary key, n int default 0, pid int default pg_backend_pid())';
const REQUESTS = 200;
/** Connections of the application to the pooler, which has one to the server. */
const CLIENTS = 20;

interface Request {
  readonly id: string | null;
  readonly n: number;
}

describe.skipIf(await receiverMissing('pgbouncer'))('through PgBouncer in transaction mode with one connection', () => {
  let pooler: Receiver;

  beforeAll(async () => {
    const { host, port, user } = await providePostgres({ major: 18 });
    pooler = await Receiver.start('pgbouncer', { args: [host, String(port), user] });
  });

  afterAll(() => pooler?.[Symbol.asyncDispose]());

  function pooled(database: AuditedDatabase): string {
    const url = new URL(database.url);
    url.host = `127.0.0.1:${pooler.port}`;
    return url.href;
  }

  /** Runs all requests at once, each third of them without an actor, and checks whose changes are whose. */
  async function check(database: AuditedDatabase, request: (one: Request) => Promise<unknown>): Promise<void> {
    await Promise.all(
      Array.from({ length: REQUESTS }, (_, n) => {
        const id = n % 3 === 0 ? null : `user-${n}`;
        const run = () => request({ id, n });
        return id === null ? run() : withActor({ id }, run);
      }),
    );
    const changes = whoDidWhat(await database.transactions());
    expect(changes.length).toBeGreaterThanOrEqual(REQUESTS);
    for (const { text, actor } of changes) expect(String(actor), text).toBe(text.split('/')[0]);
    expect(new Set(changes.map(({ text }) => text.split('/')[1]))).toHaveLength(REQUESTS);
    const { rows } = await database.query('select count(distinct pid)::int as connections from item');
    expect(rows).toEqual([{ connections: 1 }]);
  }

  test('pg: statements by themselves, transactions, savepoints, rollbacks and errors', async () => {
    await using database = await auditedDatabase(SCHEMA);
    const pool = attachActor(new pg.Pool({ connectionString: pooled(database), max: CLIENTS }));
    try {
      await check(database, async ({ id, n }) => {
        const name = `${id}/${n}`;
        if (n % 4 === 0) {
          await pool.query('insert into item (name) values ($1)', [name]);
          return;
        }
        const client = await pool.connect();
        try {
          await client.query('begin');
          await client.query('insert into item (name) values ($1)', [name]);
          await client.query('savepoint s');
          await client.query(`insert into item (name) values ('${name}/gone')`);
          await client.query('rollback to s');
          await client.query('update item set n = 1 where name = $1', [name]);
          await client.query('commit');
          // A connection that goes back after an error and a rollback.
          if (n % 4 === 2) {
            await client.query('begin');
            await expect(client.query('insert into item (name) values ($1)', [name])).rejects.toThrow('duplicate key');
            await client.query('rollback');
          }
        } finally {
          client.release();
        }
      });
    } finally {
      await pool.end();
    }
  });

  test('postgres.js without prepared statements', async () => {
    await using database = await auditedDatabase(SCHEMA);
    const sql = attachPostgresJs(postgres(pooled(database), { max: CLIENTS, prepare: false, onnotice: () => {} }));
    try {
      await check(database, async ({ id, n }) => {
        const name = `${id}/${n}`;
        if (n % 2 === 0) return sql`insert into item (name) values (${name})`;
        return sql.begin(async (tx) => {
          await tx`insert into item (name) values (${name})`;
          await tx`update item set n = 1 where name = ${name}`;
        });
      });
    } finally {
      await sql.end();
    }
  });

  test('signed claims bound to their transaction', async () => {
    await using database = await auditedDatabase(SCHEMA);
    const signer = createSigner({ keyId: 'k', secret: Buffer.alloc(32, 7), bindTransaction: true });
    const pool = attachActor(new pg.Pool({ connectionString: pooled(database), max: CLIENTS }), { signer });
    await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        withActor({ id: `user-${n}` }, () => pool.query('insert into item (name) values ($1)', [`user-${n}/${n}`])),
      ),
    );
    await pool.end();
    const transactions = await database.transactions();
    expect(transactions).toHaveLength(60);
    for (const { xid, entries } of transactions) {
      const { claim } = JSON.parse(entries[0]!.text) as { claim: string };
      expect(parseClaim(claim)?.payload).toMatchObject({
        xid: String(xid),
        actor: { id: entries[1]!.text.split('/')[0] },
      });
    }
  });

  for (const [name, open] of Object.entries(ORMS)) {
    test(`${name}, in five processes' worth of pools`, async () => {
      await using database = await auditedDatabase(SCHEMA);
      const orms: Orm[] = [];
      for (let i = 0; i < 5; i++) orms.push(await open(pooled(database)));
      try {
        await check(database, ({ id, n }) => {
          const orm = orms[n % orms.length]!;
          return n % 2 === 0 ? orm.insert(`${id}/${n}`) : orm.transaction([`${id}/${n}`, `${id}/${n}/second`]);
        });
      } finally {
        for (const orm of orms) await orm.close();
      }
    });
  }
});
