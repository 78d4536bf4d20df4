import { describe, expect, test } from 'vitest';
import { withActor } from '../../src/context/index.ts';
import { ORMS, type Orm } from './support/orms.ts';
import { type AuditedDatabase, auditedDatabase, whoDidWhat } from './support/wal.ts';

const SCHEMA = 'create table item (name text primary key, n int default 0)';
const alice = { id: 'alice', type: 'user' };

describe.each(Object.entries(ORMS))('%s', (_name, open) => {
  function it(name: string, run: (orm: Orm, database: AuditedDatabase) => Promise<void>): void {
    test(name, async () => {
      await using database = await auditedDatabase(SCHEMA);
      const orm = await open(database.url);
      try {
        await run(orm, database);
      } finally {
        await orm.close();
      }
    });
  }

  it('puts the message first into every transaction, explicit or not', async (orm, database) => {
    await withActor(alice, async () => {
      await orm.insert('a');
      await orm.update('a', 5);
      await orm.transaction(['b', 'c']);
      expect(await orm.count()).toBe(3);
    });
    const transactions = await database.transactions();
    expect(transactions.map(({ entries }) => entries.map(({ what }) => what))).toEqual([
      ['message', 'insert'],
      ['message', 'update'],
      ['message', 'insert', 'insert'],
    ]);
    expect(whoDidWhat(transactions).every(({ actor }) => actor === 'alice')).toBe(true);
  });

  it('goes on after a transaction that was rolled back and a statement that failed', async (orm, database) => {
    await withActor(alice, async () => {
      await expect(orm.transaction(['gone'], true)).rejects.toThrow('rolled back');
      await orm.insert('a');
      await expect(orm.insert('a')).rejects.toThrow();
      await expect(orm.transaction(['gone', 'a'])).rejects.toThrow();
    });
    await orm.insert('b');
    expect(whoDidWhat(await database.transactions())).toEqual([
      { text: 'a', actor: 'alice' },
      { text: 'b', actor: null },
    ]);
  });

  it('never gives a change another request’s actor, with one connection for all', async (orm, database) => {
    const work = Array.from({ length: 80 }, async (_, n) => {
      const id = n % 5 === 0 ? null : `user-${n}`;
      const request = () => (n % 2 === 0 ? orm.insert(`${id}/${n}`) : orm.transaction([`${id}/${n}`, `${id}/${n}b`]));
      await (id === null ? request() : withActor({ id }, request));
    });
    await Promise.all(work);
    const changes = whoDidWhat(await database.transactions());
    expect(changes).toHaveLength(120);
    for (const { text, actor } of changes) expect(String(actor)).toBe(text.split('/')[0]);
  });
});
