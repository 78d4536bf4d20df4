// The rungs that stand in each statement or row and not in the transaction: Bemi's message before a row, and a column that names
// the writer. No session context here: where nobody is named, nobody is.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';

interface Rung {
  readonly via: string;
  readonly assurance: string;
  /** The column's value for this actor, and the comment on the statement. */
  readonly by: (who: string | null) => string;
  readonly comment: (who: string | null) => string;
  /** Whether rows that a cascade deletes, and a delete at all, name anybody. */
  readonly deletes: boolean;
}

const RUNGS: Record<string, Rung> = {
  bemi: {
    via: 'bemi',
    assurance: 'claimed',
    by: () => 'null',
    comment: (who) => (who === null ? '' : ` /*Bemi ${JSON.stringify({ userId: who })} Bemi*/`),
    deletes: true,
  },
  row: {
    via: 'row',
    assurance: 'inferred',
    by: (who) => (who === null ? 'null' : pg.escapeLiteral(who)),
    comment: () => '',
    deletes: false,
  },
};

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`rungs of a statement or row on PostgreSQL ${major}`, () => {
    let database: TestDatabase;
    let capture: Capture;
    let client: pg.Client;

    beforeAll(async () => {
      const server = await providePostgres({ major });
      database = await server.createDatabase();
      // Bemi's own trigger function does as `bemi_like` does: the comment of the statement becomes a message before each row.
      await database.query(`
        create table t (id int primary key, updated_by text);
        create table child (id int primary key, updated_by text, parent int references t on delete cascade);
        create table audit (id serial primary key, updated_by text);
        create table mark (id text primary key);
        create function note() returns trigger language plpgsql as $f$
          begin insert into audit (updated_by) values (new.updated_by); return null; end $f$;
        create trigger note after insert or update on t for each row execute function note();
        create function bemi_like() returns trigger language plpgsql as $f$
          declare said text := split_part(split_part(current_query(), '/*Bemi ', 2), ' Bemi*/', 1);
          begin
            if said <> '' then perform pg_logical_emit_message(true, '_bemi', said); end if;
            if tg_op = 'DELETE' then return old; end if;
            return new;
          end $f$;
        create trigger bemi before insert or update or delete on t for each row execute function bemi_like();
        create trigger bemi before insert or update or delete on child for each row execute function bemi_like();
        create trigger bemi before insert or update or delete on audit for each row execute function bemi_like();`);
      capture = await startCapture({
        url: database.url,
        configuration: { actors: { columns: [{ tables: ['public.*'], column: 'updated_by' }] } },
      });
    });

    afterAll(async () => {
      await capture?.[Symbol.asyncDispose]();
      await database?.drop();
    });

    beforeEach(async () => {
      await database.query('truncate t, child, audit');
      client = new pg.Client({ connectionString: database.url });
      await client.connect();
      return () => client.end();
    });

    let marks = 0;
    async function mark(): Promise<string> {
      const id = String(++marks);
      await database.query('insert into mark values ($1)', [id]);
      return id;
    }

    for (const [name, rung] of Object.entries(RUNGS)) {
      /** `child insert 1 alice` for each change since the mark, in the order of the log. */
      const seen = async (from: string): Promise<string[]> => {
        const all = await capture.changes();
        const start = all.findLastIndex(
          ({ object }) => object.table === 'mark' && (object.key as { id: string }).id === from,
        );
        return all
          .slice(start + 1)
          .filter(({ action }) => action !== 'truncate')
          .map(({ object, action, actor }) => {
            const { via, assurance, id } = actor!;
            if (id === undefined) expect(actor).toEqual({ assurance: 'none' });
            else expect({ via, assurance }).toEqual({ via: rung.via, assurance: rung.assurance });
            const key = object.table === 'audit' ? '' : ` ${(object.key as { id: number }).id}`;
            return `${object.table} ${action}${key} ${id ?? '-'}`;
          });
      };

      const insert = (who: string | null, ...ids: number[]) =>
        `insert into child values ${ids.map((id) => `(${id}, ${rung.by(who)})`).join(', ')}${rung.comment(who)}`;

      describe(name, () => {
        test('statements that commit by themselves, and a batch of rows in one', async () => {
          const from = await mark();
          await client.query(insert('alice', 1));
          await client.query(insert(null, 2));
          await client.query(insert('bob', 3, 4, 5));
          expect(await seen(from)).toEqual([
            'child insert 1 alice',
            'child insert 2 -',
            'child insert 3 bob',
            'child insert 4 bob',
            'child insert 5 bob',
          ]);
        });

        test('two actors and nobody one after the other in a transaction', async () => {
          const from = await mark();
          await client.query('begin');
          for (const [id, who] of ['alice', null, 'bob', 'alice'].entries()) await client.query(insert(who, id));
          await client.query('commit');
          await client.query(insert(null, 9));
          expect(await seen(from)).toEqual([
            'child insert 0 alice',
            'child insert 1 -',
            'child insert 2 bob',
            'child insert 3 alice',
            'child insert 9 -',
          ]);
        });

        test('a savepoint that is rolled back takes its word back, one that is released keeps it', async () => {
          const from = await mark();
          await client.query('begin');
          await client.query(insert('alice', 1));
          await client.query('savepoint s');
          await client.query(insert('bob', 2));
          await client.query('rollback to s');
          await client.query(insert(null, 3));
          await client.query(insert('carol', 4));
          await client.query('release s');
          await client.query('commit');
          expect(await seen(from)).toEqual(['child insert 1 alice', 'child insert 3 -', 'child insert 4 carol']);
        });

        test('prepared statements', async () => {
          const from = await mark();
          for (const [at, who] of ['alice', null, 'bob', null].entries()) {
            const text = `insert into child values ($1, ${rung.by(who)})${rung.comment(who)}`;
            await client.query({ name: `${name}-${who}`, text, values: [at] });
          }
          expect(await seen(from)).toEqual([
            'child insert 0 alice',
            'child insert 1 -',
            'child insert 2 bob',
            'child insert 3 -',
          ]);
        });

        test('COPY', async () => {
          const from = await mark();
          const rows = name === 'row' ? '1\talice\n2\t\\N\n3\talice\n' : '1\t\\N\n2\t\\N\n3\t\\N\n';
          const copy = `copy child (id, updated_by) from stdin${rung.comment('alice')}`;
          await pipeline(Readable.from(rows), client.query(copyFrom(copy)));
          const second = name === 'row' ? '-' : 'alice';
          expect(await seen(from)).toEqual([
            'child insert 1 alice',
            `child insert 2 ${second}`,
            'child insert 3 alice',
          ]);
        });

        test('changes made by triggers and cascades; who wrote a row last is not who deletes it', async () => {
          const from = await mark();
          await client.query('begin');
          await client.query(`insert into t values (1, ${rung.by('alice')})${rung.comment('alice')}`);
          await client.query(`insert into child values (1, ${rung.by('bob')}, 1)${rung.comment('bob')}`);
          await client.query('commit');
          await client.query(`delete from t${rung.comment('carol')}`);
          const deleter = rung.deletes ? 'carol' : '-';
          expect(await seen(from)).toEqual([
            't insert 1 alice',
            'audit insert alice',
            'child insert 1 bob',
            `t delete 1 ${deleter}`,
            `child delete 1 ${deleter}`,
          ]);
        });

        test('200 transactions interleaved in the log', async () => {
          const from = await mark();
          const connections = await Promise.all(
            Array.from({ length: 20 }, async () => {
              const one = new pg.Client({ connectionString: database.url });
              await one.connect();
              return one;
            }),
          );
          // Ten rounds of twenty transactions whose statements take turns: a third of the rows names nobody.
          const who = (id: number) => (id % 3 === 0 ? null : `w${id}`);
          for (let round = 0; round < 10; round++) {
            const each = (work: (one: pg.Client, lane: number) => Promise<unknown>) =>
              Promise.all(connections.map(work));
            await each((one) => one.query('begin'));
            for (let row = 0; row < 3; row++) {
              await each((one, lane) => {
                const id = 1000 * round + 10 * lane + row;
                return one.query(insert(who(id), id));
              });
            }
            await each((one) => one.query('commit'));
          }
          await Promise.all(connections.map((one) => one.end()));
          const all = await seen(from);
          expect(all).toHaveLength(600);
          for (const line of all) {
            const [, , key, actor] = line.split(' ');
            expect(actor, line).toBe(who(Number(key)) ?? '-');
          }
        });
      });
    }
  });
}
