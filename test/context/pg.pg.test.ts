import { createSecretKey } from 'node:crypto';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import { describe, expect, test } from 'vitest';
import { parseClaim } from '../../src/context/claim.ts';
import { createSigner, withActor, withActorFrom } from '../../src/context/index.ts';
import { attachActor } from '../../src/context/pg.ts';
import { postgresMajors } from '../support/provide.ts';
import { type AuditedDatabase, auditedDatabase, messagesOf, whoDidWhat } from './support/wal.ts';

const SCHEMA = `create table item (name text primary key, n int default 0);
  create procedure add_item(name text) language sql as 'insert into item values (name)';
  create function add_by_function(name text) returns text language sql as 'insert into item values (name) returning name'`;

let database: AuditedDatabase;
let pool: pg.Pool;

/** Each test has a database of its own, on the oldest and the newest server. */
function it(name: string, run: () => Promise<void>): void {
  test.each(postgresMajors())(`${name} (PostgreSQL %i)`, async (major) => {
    database = await auditedDatabase(SCHEMA, major);
    pool = attachActor(new pg.Pool({ connectionString: database.url, max: 1 }));
    try {
      await run();
    } finally {
      await pool.end();
      await database[Symbol.asyncDispose]();
    }
  });
}

const alice = { id: 'alice', type: 'user' };
const bob = { id: 'bob', type: 'support' };

describe('a statement outside a transaction', () => {
  it('is one transaction with its message first, with parameters or without', async () => {
    await withActor(alice, async () => {
      await pool.query('insert into item values ($1)', ['a']);
      await pool.query("insert into item values ('b')");
      await pool.query({ name: 'by-name', text: 'insert into item values ($1)', values: ['c'] });
      await pool.query({ name: 'by-name', text: 'insert into item values ($1)', values: ['d'] });
      await pool.query({ text: 'insert into item values ($1)', values: ['e'], rowMode: 'array' });
    });
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.map(({ what, text }) => `${what} ${text}`))).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map((name) => ['message {"id":"alice","type":"user"}', `insert ${name}`]),
    );
  });

  it('answers as if nothing were attached', async () => {
    await withActor(alice, async () => {
      const one = await pool.query('insert into item values ($1, $2) returning name, n', ['a', 7]);
      expect(one).toMatchObject({ command: 'INSERT', rowCount: 1, rows: [{ name: 'a', n: 7 }] });
      expect(one.fields.map(({ name }) => name)).toEqual(['name', 'n']);
      const simple = await pool.query("update item set n = 8 where name = 'a' returning n");
      expect(simple).toMatchObject({ command: 'UPDATE', rowCount: 1, rows: [{ n: 8 }] });
      const several = await pool.query("insert into item values ('b'); select count(*)::int as count from item");
      expect(several).toMatchObject([{ command: 'INSERT' }, { command: 'SELECT', rows: [{ count: 2 }] }]);
      const none = await pool.query('delete from item where name = $1', ['nobody']);
      expect(none).toMatchObject({ command: 'DELETE', rowCount: 0, rows: [] });
    });
  });

  it('calls a callback, for a client and for a pool', async () => {
    const client = await pool.connect();
    const result = await withActor(
      alice,
      () =>
        new Promise<pg.QueryResult>((resolve, reject) => {
          client.query("insert into item values ('a') returning name", (error: Error | null, answer: pg.QueryResult) =>
            error ? reject(error) : resolve(answer),
          );
        }),
    );
    client.release();
    expect(result.rows).toEqual([{ name: 'a' }]);
    await withActor(
      bob,
      () => new Promise((resolve) => pool.query('insert into item values ($1)', ['b'], () => resolve(null))),
    );
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'bob' },
    ]);
  });

  it('fails with its own error, at its own position, and leaves the connection usable', async () => {
    await withActor(alice, async () => {
      await pool.query("insert into item values ('a')");
      await expect(pool.query('insert into item values ($1)', ['a'])).rejects.toMatchObject({ code: '23505' });
      await expect(pool.query("insert into item values ('a')")).rejects.toMatchObject({ code: '23505' });
      const simple = 'insert into item values (nonsense)';
      await expect(pool.query(simple)).rejects.toMatchObject({
        code: '42703',
        position: `${simple.indexOf('nonsense') + 1}`,
      });
      await expect(pool.query(`${simple};`, [])).rejects.toMatchObject({
        position: `${simple.indexOf('nonsense') + 1}`,
      });
      await expect(pool.query('insert into')).rejects.toMatchObject({ code: '42601', position: '12' });
      await expect(pool.query(`${simple} returning $1::int`, [1])).rejects.toMatchObject({
        position: `${simple.indexOf('nonsense') + 1}`,
      });
      await expect(pool.query({ name: 'bad', text: 'insert into nowhere values ($1)', values: [1] })).rejects.toThrow();
      await expect(
        pool.query({ name: 'bad', text: 'insert into nowhere values ($1)', values: [1] }),
      ).rejects.toMatchObject({
        code: '42P01',
      });
      const unreadable = {
        toPostgres: () => {
          throw new TypeError('unreadable');
        },
      };
      await expect(pool.query('insert into item values ($1)', [unreadable])).rejects.toThrow('unreadable');
      await expect(pool.query('insert into item values ($1)', 'no list' as never)).rejects.toThrow('must be an array');
      await pool.query('insert into item values ($1)', ['b']);
    });
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'alice' },
    ]);
  });

  it('that only reads, or must not be wrapped, is sent as it is', async () => {
    await withActor(alice, async () => {
      await pool.query('select * from item where name = $1', ['a']);
      await pool.query('call add_item($1)', ['by procedure']);
      await pool.query('vacuum item');
      await pool.query('create index concurrently item_n on item (n)');
    });
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'by procedure', actor: null }]);
    expect(messagesOf(await database.transactions())).toEqual([]);
  });

  it('that writes inside a query carries the message where its text or isWrite says so', async () => {
    const own = attachActor(new pg.Pool({ connectionString: database.url }), {
      isWrite: (sql) => sql.includes('add_by'),
    });
    await withActor(alice, async () => {
      await pool.query('with x as (insert into item values ($1) returning 1) select * from x', ['cte']);
      await pool.query("select add_by_function('unseen')");
      await own.query("select add_by_function('seen')");
    });
    await own.end();
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'cte', actor: 'alice' },
      { text: 'unseen', actor: null },
      { text: 'seen', actor: 'alice' },
    ]);
  });

  it('without an actor is sent as it is', async () => {
    await pool.query("insert into item values ('a')");
    expect((await database.transactions())[0]?.entries).toEqual([{ what: 'insert', text: 'a' }]);
  });
});

describe('a transaction', () => {
  it('says who acts once, before its first change, and not when it only reads', async () => {
    const client = await pool.connect();
    await withActor(alice, async () => {
      await client.query('begin isolation level serializable');
      await client.query('select 1');
      await client.query('commit');
      await client.query('begin');
      await client.query('set transaction isolation level serializable');
      await client.query('select * from item');
      await client.query('insert into item values ($1)', ['a']);
      await client.query("insert into item values ('b')");
      await client.query('call add_item($1)', ['c']);
      await client.query('commit');
    });
    client.release();
    const [only, ...others] = await database.transactions();
    expect(others).toEqual([]);
    expect(only?.entries.map(({ what }) => what)).toEqual(['message', 'insert', 'insert', 'insert']);
  });

  it('says it again when the actor changes', async () => {
    const client = await pool.connect();
    await client.query('begin');
    await withActor(alice, () => client.query("insert into item values ('a')"));
    await withActor(bob, () => client.query("insert into item values ('b')"));
    await withActor(alice, () => client.query("insert into item values ('c')"));
    await client.query('commit');
    client.release();
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'bob' },
      { text: 'c', actor: 'alice' },
    ]);
  });

  it('says it again when the savepoint that held it is rolled back, and in a chained transaction', async () => {
    const client = await pool.connect();
    await withActor(alice, async () => {
      await client.query('begin');
      await client.query('savepoint s');
      await client.query("insert into item values ('gone')");
      await client.query('rollback to s');
      await client.query("savepoint s2; insert into item values ('a')");
      await client.query('commit and chain');
      await client.query("insert into item values ('b')");
      await client.query('commit');
    });
    client.release();
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'alice' },
    ]);
  });

  it('says it behind a savepoint’s rollback that stands in the same text, also after an error', async () => {
    const client = await pool.connect();
    await client.query('begin');
    await withActor(alice, () => client.query("insert into item values ('a1')"));
    await client.query('savepoint s');
    await withActor(bob, async () => {
      await client.query("insert into item values ('gone')");
      const results = await client.query("rollback to s; insert into item values ('b1') returning name");
      expect(results).toMatchObject([{ command: 'ROLLBACK' }, { rows: [{ name: 'b1' }] }]);
      await client.query('savepoint s');
      await expect(client.query("insert into item values ('b1')")).rejects.toMatchObject({ code: '23505' });
      await client.query("rollback work to savepoint s; insert into item values ('b2')");
    });
    await withActor(alice, () => client.query("insert into item values ('a2')"));
    await client.query('commit');
    client.release();
    const seen = whoDidWhat(await database.transactions()).map(({ text, actor }) => `${text} ${actor}`);
    expect(seen).toEqual(['a1 alice', 'b1 bob', 'b2 bob', 'a2 alice']);
  });

  it('written as one text carries the message behind its begin', async () => {
    await withActor(alice, async () => {
      const results = await pool.query("begin; insert into item values ('a') returning name; commit");
      expect(results).toMatchObject([{ command: 'BEGIN' }, { rows: [{ name: 'a' }] }, { command: 'COMMIT' }]);
      await pool.query("begin; set transaction isolation level serializable; insert into item values ('b'); commit");
    });
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: null },
    ]);
  });

  it('that failed is left alone until it is rolled back', async () => {
    const client = await pool.connect();
    await withActor(alice, async () => {
      await client.query('begin');
      await expect(client.query('insert into nowhere values (1)')).rejects.toMatchObject({ code: '42P01' });
      await expect(client.query("insert into item values ('a')")).rejects.toMatchObject({ code: '25P02' });
      await client.query('rollback');
      await client.query("insert into item values ('b')");
    });
    client.release();
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'b', actor: 'alice' }]);
  });

  it('that is read-only takes no harm from a statement that looks like a write', async () => {
    const client = await pool.connect();
    await withActor(alice, async () => {
      await client.query('begin read only');
      await client.query("select 'update'");
      await client.query('commit');
    });
    client.release();
    expect(await database.transactions()).toEqual([]);
  });

  it('covers streams and cursors', async () => {
    const client = await pool.connect();
    await withActor(alice, async () => {
      await client.query('begin');
      const stream = client.query(copyFrom('copy item (name) from stdin'));
      await new Promise((resolve, reject) => stream.on('error', reject).on('finish', resolve).end('a\nb\n'));
      const cursor = client.query(new Cursor("insert into item values ('c') returning name"));
      expect(await cursor.read(10)).toEqual([{ name: 'c' }]);
      await cursor.close();
      await client.query('commit');
      await client.query(new pg.Query("insert into item values ('d')") as never);
    });
    client.release();
    await pool.query('select 1');
    const transactions = await database.transactions();
    expect(whoDidWhat(transactions)).toEqual(['a', 'b', 'c', 'd'].map((text) => ({ text, actor: 'alice' })));
    expect(transactions[0]?.entries.filter(({ what }) => what === 'message')).toHaveLength(1);
  });
});

describe('a pool of one', () => {
  it('never gives a change another request’s actor', async () => {
    const work = Array.from({ length: 200 }, async (_, n) => {
      const id = n % 5 === 0 ? null : `user-${n}`;
      const request = async () => {
        const style = n % 4;
        if (style === 0) await pool.query('insert into item values ($1)', [`${id}/${n}`]);
        if (style === 1) await pool.query(`insert into item values ('${id}/${n}')`);
        if (style === 2) {
          await new Promise((resolve, reject) =>
            pool.query(`insert into item values ('${id}/${n}')`, (error: Error) =>
              error ? reject(error) : resolve(null),
            ),
          );
        }
        if (style === 3) {
          const client = await pool.connect();
          await client.query('begin');
          await client.query('insert into item values ($1)', [`${id}/${n}`]);
          await client.query(n % 8 === 3 ? 'rollback' : 'commit');
          client.release();
        }
      };
      await (id === null ? request() : withActor({ id }, request));
    });
    await Promise.all(work);
    const changes = whoDidWhat(await database.transactions());
    expect(changes).toHaveLength(175);
    for (const { text, actor } of changes) expect(String(actor)).toBe(text.split('/')[0]);
  });

  it('goes on when who acts cannot be said', async () => {
    const failing = () => {
      throw new TypeError('the session store is gone');
    };
    for (const write of ["insert into item values ('a')", { text: 'insert into item values ($1)', values: ['b'] }]) {
      await expect(withActorFrom(failing, () => pool.query(write))).rejects.toThrow('the session store is gone');
    }
    await withActor(alice, () => pool.query("insert into item values ('c')"));
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'c', actor: 'alice' }]);
  });

  it('leaves nothing on the session', async () => {
    await withActor(alice, () => pool.query("insert into item values ('a')"));
    await pool.query("insert into item values ('b')");
    const { rows } = await pool.query('select count(*)::int as count from pg_prepared_statements');
    expect(rows).toEqual([{ count: 0 }]);
    expect(whoDidWhat(await database.transactions()).at(-1)).toEqual({ text: 'b', actor: null });
  });
});

describe('a client', () => {
  it('in pipeline mode carries the message with each statement', async () => {
    const client = attachActor(new pg.Client({ connectionString: database.url, pipeline: true } as pg.ClientConfig));
    await client.connect();
    await withActor(alice, () =>
      Promise.all([
        client.query('insert into item values ($1)', ['a']),
        client.query("insert into item values ('b')"),
        client.query('insert into nowhere values ($1)', ['x']).catch(() => null),
        client.query('begin'),
        client.query('insert into item values ($1)', ['c']),
        client.query('commit'),
        withActor(bob, () => client.query("insert into item values ('d')")),
      ]),
    );
    await client.end();
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'alice' },
      { text: 'c', actor: 'alice' },
      { text: 'd', actor: 'bob' },
    ]);
  });

  it('that was in the pool before, or in a transaction before, is covered', async () => {
    const old = new pg.Pool({ connectionString: database.url, max: 1 });
    await old.query('select 1');
    attachActor(attachActor(old));
    await withActor(alice, () => old.query("insert into item values ('a')"));
    await old.end();
    const client = new pg.Client(database.url);
    await client.connect();
    await client.query('begin');
    attachActor(client);
    await withActor(alice, () => client.query("insert into item values ('b')"));
    await client.query('commit');
    await client.end();
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.length)).toEqual([2, 2]);
  });

  it('answers a query timeout as before', async () => {
    const client = attachActor(new pg.Client({ connectionString: database.url }));
    await client.connect();
    await withActor(alice, async () => {
      const slow = {
        text: "insert into item select 'slow' from pg_sleep(1) where $1::int = 1",
        values: [1],
        query_timeout: 50,
      };
      await expect(client.query(slow as pg.QueryConfig)).rejects.toThrow('timeout');
      await client.query("insert into item values ('after')");
    });
    await client.end();
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'slow', actor: 'alice' },
      { text: 'after', actor: 'alice' },
    ]);
  });

  it('without the protocol underneath is refused', async () => {
    expect(() => attachActor({ query: () => null })).toThrow(TypeError);
  });
});

describe('a signer', () => {
  const secret = createSecretKey(Buffer.alloc(32, 7)).export();
  const claimsOf = async () =>
    messagesOf(await database.transactions()).map((message) => parseClaim(String(message['claim']))?.payload);

  it('makes a new claim for each transaction', async () => {
    const signer = createSigner({ keyId: 'k', secret });
    const signing = attachActor(new pg.Pool({ connectionString: database.url, max: 1 }), { signer });
    await withActor(alice, async () => {
      await signing.query("insert into item values ('a')");
      await signing.query('insert into item values ($1)', ['b']);
    });
    await signing.end();
    const claims = await claimsOf();
    expect(claims.map((claim) => claim?.actor)).toEqual([alice, alice]);
    expect(new Set(claims.map((claim) => claim?.jti)).size).toBe(2);
  });

  it('binds claims to their transaction, whatever the form of the statement', async () => {
    const signer = createSigner({ keyId: 'k', secret, bindTransaction: true });
    const signing = attachActor(new pg.Pool({ connectionString: database.url, max: 1 }), { signer });
    await withActor(alice, async () => {
      await signing.query("insert into item values ('a')");
      await signing.query('insert into item values ($1)', ['b']);
      await signing.query({ name: 'named', text: 'insert into item values ($1) returning name', values: ['c'] });
      const again = await signing.query({
        name: 'named',
        text: 'insert into item values ($1) returning name',
        values: ['d'],
      });
      expect(again.rows).toEqual([{ name: 'd' }]);
      await expect(signing.query('insert into item values ($1)', ['d'])).rejects.toMatchObject({ code: '23505' });
      await expect(signing.query('insert into item values ($1)', 'no list' as never)).rejects.toThrow('an array');
      const client = await signing.connect();
      await client.query('begin');
      await client.query("insert into item values ('e'); insert into item values ('f')");
      await client.query('commit');
      await client.query('begin read only');
      await expect(client.query("insert into item values ('g')")).rejects.toMatchObject({ code: '25006' });
      await client.query('rollback');
      client.release();
    });
    await signing.end();
    const transactions = (await database.transactions()).filter(({ entries }) => entries.length > 1);
    expect(whoDidWhat(transactions).map(({ text }) => text)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    for (const { xid, entries } of transactions) {
      const { claim } = JSON.parse(String(entries[0]?.text)) as { claim: string };
      expect(parseClaim(claim)?.payload.xid).toBe(String(xid));
    }
  });

  it('that throws fails the statement and nothing else', async () => {
    const signer = {
      bindTransaction: false,
      sign: () => {
        throw new TypeError('the key is gone');
      },
    };
    const signing = attachActor(new pg.Pool({ connectionString: database.url, max: 1 }), { signer });
    await withActor(alice, async () => {
      await expect(signing.query('insert into item values ($1)', ['a'])).rejects.toThrow('the key is gone');
    });
    await signing.query("insert into item values ('b')");
    await signing.end();
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'b', actor: null }]);
  });
});
