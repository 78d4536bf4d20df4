import postgres from 'postgres';
import { describe, expect, test } from 'vitest';
import { parseClaim } from '../../src/context/claim.ts';
import { createSigner, withActor } from '../../src/context/index.ts';
import { attachActor } from '../../src/context/postgres.ts';
import { type AuditedDatabase, auditedDatabase, messagesOf, whoDidWhat } from './support/wal.ts';

const SCHEMA = `create table item (name text primary key, n int default 0);
  create table part (item text references item (name) deferrable initially deferred);
  create procedure add_item(name text) language sql as 'insert into item values (name)'`;

const alice = { id: 'alice', type: 'user' };
const bob = { id: 'bob', type: 'support' };

type Run = (sql: postgres.Sql, database: AuditedDatabase) => Promise<void>;

/** Each test has a database of its own, and a pool of one connection. */
function it(name: string, run: Run, options: Parameters<typeof attachActor>[1] = {}): void {
  test(name, async () => {
    await using database = await auditedDatabase(SCHEMA);
    const sql = attachActor(postgres(database.url, { max: 1, onnotice: () => {} }), options);
    try {
      await run(sql, database);
    } finally {
      await sql.end({ timeout: 1 });
    }
  });
}

describe('a statement outside a transaction', () => {
  it('is one transaction with its message first, in every form', async (sql, database) => {
    await withActor(alice, async () => {
      await sql`insert into item values (${'a'})`;
      await sql`insert into item values (${'b'})`;
      await sql`insert into item ${sql({ name: 'c', n: 1 })}`;
      await sql`${sql`insert into`} item values ('d')`;
      await sql.unsafe("insert into item values ('e')");
      await sql.unsafe('insert into item values ($1)', ['f']);
      await sql`update item set n = 2 where name = 'f'`.simple();
    });
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.map(({ what, text }) => `${what} ${text}`))).toEqual(
      ['insert a', 'insert b', 'insert c', 'insert d', 'insert e', 'insert f', 'update f'].map((change) => [
        'message {"id":"alice","type":"user"}',
        change,
      ]),
    );
  });

  it('answers as if nothing were attached', async (sql) => {
    await withActor(alice, async () => {
      const rows = await sql`insert into item values ('a', 7) returning name, n`;
      expect([...rows]).toEqual([{ name: 'a', n: 7 }]);
      expect(rows).toMatchObject({ command: 'INSERT', count: 1 });
      expect(await sql`update item set n = 8 returning n`.values()).toEqual([[8]]);
      const seen: unknown[] = [];
      await sql`insert into item values ('b'), ('c') returning name`.forEach((row) => {
        seen.push(row['name']);
      });
      for await (const [row] of sql`insert into item values ('d') returning name`.cursor()) seen.push(row?.['name']);
      expect(seen).toEqual(['b', 'c', 'd']);
      expect((await sql`insert into item values (${'e'})`.describe()).types).toEqual([25]);
    });
  });

  it('fails with its own error or the commit’s, and leaves the connection usable', async (sql, database) => {
    await withActor(alice, async () => {
      await sql`insert into item values ('a')`;
      await expect(sql`insert into item values (${'a'})`).rejects.toMatchObject({ code: '23505' });
      await expect(sql`insert into nowhere values ('a')`).rejects.toMatchObject({ code: '42P01' });
      await expect(sql`insert into part values ('missing')`).rejects.toMatchObject({ code: '23503' });
      await sql`insert into item values ('b')`;
    });
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: 'alice' },
    ]);
  });

  it('that only reads, has no actor, or must not be wrapped is sent as it is', async (sql, database) => {
    await withActor(alice, async () => {
      await sql`select * from item`;
      await sql`call add_item('by procedure')`;
      await sql`vacuum item`;
    });
    await sql`insert into item values ('a')`;
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'by procedure', actor: null },
      { text: 'a', actor: null },
    ]);
  });

  it('is rejected after the pool ended, and the end waits for what runs', async (sql, database) => {
    const running = withActor(alice, () => sql`insert into item select 'a' from pg_sleep(0.1)`.execute());
    await sql`select 1`.execute();
    await sql.end();
    await running;
    await expect(withActor(alice, () => sql`insert into item values ('b')`)).rejects.toMatchObject({
      code: 'CONNECTION_ENDED',
    });
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'a', actor: 'alice' }]);
  });

  it('is rejected when its connection breaks', async (sql, database) => {
    const slow = withActor(alice, () => sql`insert into item select 'a' from pg_sleep(60)`.execute());
    const killed = async () => {
      const { rowCount } = await database.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'insert into item select%' and state = 'active'",
      );
      return rowCount === 1;
    };
    // The server's last word or the socket's end: whichever is read first.
    const code = slow.then(
      () => 'none',
      (error: { code: string }) => error.code,
    );
    while (!(await killed()));
    expect(['57P01', 'CONNECTION_CLOSED']).toContain(await code);
    // postgres.js 3.4 may hand the server's last word to the first statement after the break, with or without a helper.
    const next = () => withActor(alice, () => sql`insert into item values ('b')`);
    await next().catch(next);
    await sql.end();
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'b', actor: 'alice' }]);
  });
});

describe('a transaction', () => {
  it('says who acts once, before its first change, and not when it only reads', async (sql, database) => {
    await withActor(alice, async () => {
      await sql.begin('read only', (tx) => tx`select 1`);
      const results = await sql.begin('isolation level serializable', (tx) => [
        tx`select 1 as one`,
        tx`insert into item values (${'a'})`,
        tx`call add_item('b')`,
        tx`insert into item values ('c') returning name`,
      ]);
      expect(results.map((rows) => [...rows])).toEqual([[{ one: 1 }], [], [], [{ name: 'c' }]]);
    });
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.map(({ what }) => what))).toEqual([
      ['message', 'insert', 'insert', 'insert'],
    ]);
  });

  it('says it again when the actor changes, and around savepoints', async (sql, database) => {
    await withActor(alice, () =>
      sql.begin(async (tx) => {
        await withActor(bob, () => tx`insert into item values ('b')`);
        await tx`insert into item values ('a')`;
        await tx
          .savepoint(async (inner) => {
            await withActor(bob, () => inner`insert into item values ('gone')`);
            throw new TypeError('back');
          })
          .catch(() => null);
        await withActor(bob, () => tx`insert into item values ('b2')`);
        await withActor(bob, () => tx.savepoint((inner) => inner`insert into item values ('b3')`));
        await tx`insert into item values ('a2')`;
      }),
    );
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'b', actor: 'bob' },
      { text: 'a', actor: 'alice' },
      { text: 'b2', actor: 'bob' },
      { text: 'b3', actor: 'bob' },
      { text: 'a2', actor: 'alice' },
    ]);
  });

  it('says who acts on a savepoint’s handle and on the outer one, in turns', async (sql, database) => {
    await withActor(alice, () =>
      sql.begin(async (tx) => {
        await tx`insert into item values ('a1')`;
        await tx.savepoint(async (inner) => {
          await withActor(bob, () => inner`insert into item values ('b1')`);
          await tx`insert into item values ('a2')`;
          await inner.savepoint((innermost) => [
            withActor(bob, () => innermost`insert into item values ('b2')`),
            innermost`insert into item values ('a3')`,
          ]);
          await inner`insert into item values ('a4')`;
        });
        const failing = tx.savepoint((inner) => withActor(bob, () => inner`insert into item values ('b1')`));
        await expect(failing).rejects.toMatchObject({ code: '23505' });
        await withActor(bob, () => tx`insert into item values ('b3')`);
      }),
    );
    const seen = whoDidWhat(await database.transactions()).map(({ text, actor }) => `${text} ${actor}`);
    expect(seen).toEqual(['a1 alice', 'b1 bob', 'a2 alice', 'b2 bob', 'a3 alice', 'a4 alice', 'b3 bob']);
  });

  it('in whose texts a savepoint is rolled back later on says it again', async (sql, database) => {
    await sql.begin(async (tx) => {
      await withActor(alice, () => tx`insert into item values ('a1')`);
      await tx`savepoint s`;
      await withActor(bob, () => tx.unsafe("insert into item values ('gone'); rollback to s"));
      await withActor(bob, () => tx`insert into item values ('b1')`);
    });
    const seen = whoDidWhat(await database.transactions()).map(({ text, actor }) => `${text} ${actor}`);
    expect(seen).toEqual(['a1 alice', 'b1 bob']);
  });

  it('fails with its first error', async (sql, database) => {
    const failing = withActor(alice, () =>
      sql.begin(async (tx) => {
        await tx`insert into item values ('a')`;
        await tx`insert into item values ('a')`;
      }),
    );
    await expect(failing).rejects.toMatchObject({ code: '23505' });
    expect(await database.transactions()).toEqual([]);
  });

  it('of a COPY carries the message', async (sql, database) => {
    await withActor(alice, () =>
      sql.begin(async (tx) => {
        const stream = await tx`copy item (name) from stdin`.writable();
        await new Promise((resolve, reject) => stream.on('error', reject).on('finish', resolve).end('a\nb\n'));
      }),
    );
    expect(whoDidWhat(await database.transactions()).map(({ actor }) => actor)).toEqual(['alice', 'alice']);
  });

  it('on a reserved connection is followed', async (sql, database) => {
    const reserved = await sql.reserve();
    await withActor(alice, async () => {
      await reserved`insert into item values ('a')`;
      await reserved`begin`;
      await reserved`savepoint s`;
      await reserved`insert into item values ('gone')`;
      await reserved`rollback to s`;
      await reserved`insert into item values ('b')`;
      await reserved`commit and chain`;
      await reserved`insert into item values ('c')`;
      await reserved`commit`;
      await reserved`insert into item values ('d')`;
    });
    reserved.release();
    await sql`insert into item values ('e')`;
    const transactions = await database.transactions();
    expect(whoDidWhat(transactions).map(({ text, actor }) => `${text} ${actor}`)).toEqual([
      'a alice',
      'b alice',
      'c alice',
      'd alice',
      'e null',
    ]);
    expect(transactions).toHaveLength(5);
  });
});

it('a transaction that is begun inside of a longer text is never ended by the helper', async (sql, database) => {
  const reserved = await sql.reserve();
  await withActor(alice, async () => {
    await reserved`begin`;
    await reserved`insert into item values ('a')`;
    await reserved.unsafe('commit; begin');
    await reserved`insert into item values ('gone')`;
    await reserved.unsafe('rollback; begin');
    await reserved`insert into item values ('gone')`;
    await reserved`rollback`;
    await reserved.unsafe("insert into item values ('gone'); begin; insert into item values ('gone too')");
    await reserved`rollback`;
    await reserved.unsafe("begin; insert into item values ('unnamed'); commit;");
    await reserved`insert into item values ('b')`;
  });
  reserved.release();
  const seen = whoDidWhat(await database.transactions()).map(({ text, actor }) => `${text} ${actor}`);
  expect(seen).toEqual(['a alice', 'unnamed null', 'b alice']);
});

it('words of transactions in strings, bodies and comments are none', async (sql, database) => {
  const reserved = await sql.reserve();
  const texts = [
    "create function f1() returns void language plpgsql as $$ begin insert into item values ('f'); end $$",
    "create function f2() returns void language sql begin atomic insert into item values ('f'); end",
    "select '; commit'",
    'select 1 /* ; rollback */',
  ];
  await withActor(alice, async () => {
    for (const text of texts) await reserved.unsafe(text);
    await reserved`insert into item values ('a')`;
    await reserved`begin`;
    for (const text of texts) await reserved.unsafe(text.replace(/f(\d)/, 'g$1'));
    await reserved`insert into item values ('gone')`;
    await reserved`rollback`;
    await reserved.unsafe("insert into item values ('; end')");
    await reserved.unsafe("begin; insert into item values ('unnamed'); commit -- done");
    await reserved`insert into item values ('b')`;
  });
  reserved.release();
  const seen = whoDidWhat(await database.transactions()).map(({ text, actor }) => `${text} ${actor}`);
  expect(seen).toEqual(['a alice', '; end alice', 'unnamed null', 'b alice']);
});

it('a pool of one never gives a change another request’s actor', async (sql, database) => {
  const work = Array.from({ length: 200 }, async (_, n) => {
    const id = n % 5 === 0 ? null : `user-${n}`;
    const name = `${id}/${n}`;
    const request = async () => {
      if (n % 3 === 0) await sql`insert into item values (${name})`;
      if (n % 3 === 1) await sql.unsafe(`insert into item values ('${name}')`);
      if (n % 3 === 2) await sql.begin((tx) => tx`insert into item values (${name})`);
    };
    await (id === null ? request() : withActor({ id }, request));
  });
  await Promise.all(work);
  const changes = whoDidWhat(await database.transactions());
  expect(changes).toHaveLength(200);
  for (const { text, actor } of changes) expect(String(actor)).toBe(text.split('/')[0]);
});

const signer = createSigner({ keyId: 'k', secret: Buffer.alloc(32, 7), bindTransaction: true });

it(
  'a signer binds claims to their transaction and keeps the order of statements',
  async (sql, database) => {
    await withActor(alice, async () => {
      await sql`insert into item values (${'a'})`;
      await sql`insert into item values ('b')`;
      const [, , [row]] = await sql.begin((tx) => [
        tx`insert into item values ('c')`,
        tx`update item set n = 5 where name = 'c'`,
        tx`select n from item where name = 'c'`,
      ]);
      expect(row).toEqual({ n: 5 });
      await expect(sql`insert into item values ('a')`).rejects.toMatchObject({ code: '23505' });
    });
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.length)).toEqual([2, 2, 3]);
    for (const { xid, entries } of transactions) {
      const { claim } = JSON.parse(String(entries[0]?.text)) as { claim: string };
      expect(parseClaim(claim)?.payload).toMatchObject({ xid: String(xid), actor: alice });
    }
  },
  { signer },
);

const brokenSigner = {
  bindTransaction: false,
  sign: () => {
    throw new TypeError('the key is gone');
  },
};

it(
  'a signer that throws fails the statement and nothing else',
  async (sql, database) => {
    await withActor(alice, async () => {
      await expect(sql`insert into item values ('a')`).rejects.toThrow('the key is gone');
    });
    await sql`insert into item values ('b')`;
    expect(whoDidWhat(await database.transactions())).toEqual([{ text: 'b', actor: null }]);
    expect(messagesOf(await database.transactions())).toEqual([]);
  },
  { signer: brokenSigner },
);
