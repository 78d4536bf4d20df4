import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ControlClient, quoteIdent } from '../../connectors/postgres/client.ts';
import { tableMatcher } from '../../connectors/postgres/patterns.ts';
import {
  readSessionContext,
  readSessionKey,
  removeSessionContextSql,
  sessionContextSql,
} from '../../connectors/postgres/session-context.ts';
import { SessionSeal } from '../../src/actor/session-seal.ts';
import {
  type PostgresServer,
  postgresMajors,
  postgresMissing,
  providePostgres,
  type TestDatabase,
} from '../support/provide.ts';

const PATTERNS = ['public.*', '!public.hidden_*'];
const SETTINGS = ['app.user_id', 'request.jwt.claims'];

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`the session trigger on PostgreSQL ${major}`, () => {
    let server: PostgresServer;
    let database: TestDatabase;
    let control: ControlClient;
    const role = `reader_${Date.now()}_${major}`;
    const writer = `writer_${Date.now()}_${major}`;
    const matcher = tableMatcher(PATTERNS);

    beforeAll(async () => {
      server = await providePostgres({ major });
      database = await server.createDatabase();
      await database.query(`
        create role ${quoteIdent(role)} login; create role ${quoteIdent(writer)} login;
        create table a (id int primary key, v int); create table b (id int primary key references a on delete cascade);
        create table hidden_c (id int primary key);
        create table p (id int, part int) partition by list (part);
        create table p1 partition of p for values in (1); create table p2 partition of p for values in (2) partition by list (id);
        create table p21 partition of p2 for values in (1);
        grant all on all tables in schema public to ${quoteIdent(writer)};
        grant usage, create on schema public to ${quoteIdent(writer)};`);
      control = await ControlClient.connect(database.url, 'test');
      await install();
      await database.query(`select pg_create_logical_replication_slot('s_${database.name}', 'test_decoding')`);
    });

    afterAll(async () => {
      await control?.close();
      await database?.drop();
      await server?.query(`drop role if exists ${quoteIdent(role)}; drop role if exists ${quoteIdent(writer)}`);
    });

    async function install(settings = SETTINGS): Promise<void> {
      const state = await readSessionContext(control, matcher);
      const statements = sessionContextSql({
        tables: state.missing,
        patterns: PATTERNS,
        settings,
        reader: role,
      });
      for (const statement of statements) await control.query(statement);
    }

    /** What the log holds since the last look: `begin`, `message {json}` and `public.a: INSERT`, in order. */
    async function log(): Promise<string[]> {
      const { rows } = await database.query(
        `select xid::text, data from pg_logical_slot_get_changes('s_${database.name}', null, null, 'include-xids', '0')`,
      );
      return rows.flatMap(({ data }: { data: string }) => {
        const message = /^message: transactional: 1 prefix: changetrail\.session, sz: \d+ content:(.*)$/s.exec(data);
        if (message !== null) return [`message ${message[1]!.slice(message[1]!.indexOf('{'))}`];
        const change = /^table (public\.\w+(?:, public\.\w+)*): (\w+)/.exec(data);
        return change === null ? [] : [`${change[1]}: ${change[2]}`];
      });
    }

    const short = (lines: string[]) => lines.map((line) => (line.startsWith('message') ? 'message' : line));

    function connect(user?: string): Promise<pg.Client> {
      const url = new URL(database.url);
      if (user !== undefined) url.username = user;
      const client = new pg.Client({ connectionString: url.href, application_name: 'shop-api' });
      return client.connect().then(() => client);
    }

    async function inSession(work: (client: pg.Client) => Promise<unknown>, user?: string): Promise<string[]> {
      const client = await connect(user);
      try {
        await log();
        await work(client);
      } finally {
        await client.end();
      }
      return log();
    }

    test('says once a transaction, before its first change, who is in session', async () => {
      const lines = await inSession(async (client) => {
        await client.query('begin');
        await client.query('insert into a values (1, 1)');
        await client.query('update a set v = 2 where id = 1');
        await client.query('insert into b values (1)');
        await client.query('commit');
        await client.query('update a set v = 3 where id = 1');
      }, writer);
      expect(short(lines)).toEqual([
        'message',
        'public.a: INSERT',
        'public.a: UPDATE',
        'public.b: INSERT',
        'message',
        'public.a: UPDATE',
      ]);
      expect(JSON.parse(lines[0]!.slice(8))).toEqual({
        user: writer,
        role: null,
        client: expect.stringMatching(/^(127\.0\.0\.1|::1|local|[0-9a-f.:]+)$/),
        app: 'shop-api',
        pid: expect.any(Number),
        settings: { 'app.user_id': null, 'request.jwt.claims': null },
      });
    });

    test('says it again when role or settings change within the transaction', async () => {
      const lines = await inSession(async (client) => {
        await client.query('begin');
        await client.query("set local app.user_id = 'alice'");
        await client.query('update a set v = 4');
        await client.query("set local app.user_id = 'bob'");
        await client.query('update a set v = 5');
        await client.query('update a set v = 6');
        await client.query(`set local role ${quoteIdent(writer)}`);
        await client.query('update a set v = 7');
        await client.query('commit');
      });
      expect(short(lines)).toEqual([
        'message',
        'public.a: UPDATE',
        'message',
        'public.a: UPDATE',
        'public.a: UPDATE',
        'message',
        'public.a: UPDATE',
      ]);
      const said = lines.filter((line) => line.startsWith('message')).map((line) => JSON.parse(line.slice(8)));
      expect(said.map((one) => one.settings['app.user_id'])).toEqual(['alice', 'bob', 'bob']);
      expect(said.map((one) => one.role)).toEqual([null, null, writer]);
    });

    test('says it again when the savepoint in which it was said is rolled back', async () => {
      const lines = await inSession(async (client) => {
        await client.query('begin');
        await client.query('savepoint one');
        await client.query('update a set v = 8');
        await client.query('rollback to one');
        await client.query('update a set v = 9');
        await client.query('savepoint two');
        await client.query('update a set v = 10');
        await client.query('rollback to two');
        await client.query('update a set v = 11');
        await client.query('commit');
      });
      expect(short(lines)).toEqual(['message', 'public.a: UPDATE', 'public.a: UPDATE']);
    });

    test('says it when the savepoint is released and after a transaction that was rolled back', async () => {
      const lines = await inSession(async (client) => {
        await client.query('begin; savepoint one; update a set v = 12; release one; update a set v = 13; commit');
        await client.query('begin; update a set v = 14; rollback');
        await client.query('update a set v = 15');
      });
      expect(short(lines)).toEqual(['message', 'public.a: UPDATE', 'public.a: UPDATE', 'message', 'public.a: UPDATE']);
    });

    test('fires for upserts, COPY, MERGE, writable CTEs, cascades, triggers and TRUNCATE', async () => {
      await database.query(`
        create table made (id serial primary key, what text);
        create function note() returns trigger language plpgsql as $f$ begin insert into made (what) values (tg_op); return null; end $f$;
        create table watched (id int primary key);
        create trigger note after insert on watched for each row execute function note();`);
      const copy = await inSession((client) =>
        client.query('insert into a values (2, 0), (3, 0) on conflict (id) do update set v = 1'),
      );
      expect(short(copy)).toEqual(['message', 'public.a: INSERT', 'public.a: INSERT']);
      const copied = await inSession((client) =>
        pipeline(Readable.from('4\t0\n5\t0\n'), client.query(copyFrom('copy a from stdin'))),
      );
      expect(short(copied)).toEqual(['message', 'public.a: INSERT', 'public.a: INSERT']);
      if (major >= 15) {
        const merged = await inSession((client) =>
          client.query('merge into a using (values (4)) s(id) on a.id = s.id when matched then update set v = 9'),
        );
        expect(short(merged)).toEqual(['message', 'public.a: UPDATE']);
      }
      const cascade = await inSession((client) => client.query('delete from a where id = 1'));
      expect(short(cascade)).toEqual(['message', 'public.a: DELETE', 'public.b: DELETE']);
      const made = await inSession((client) => client.query('insert into watched values (1)'));
      expect(short(made)).toEqual(['message', 'public.watched: INSERT', 'public.made: INSERT']);
      const cte = await inSession((client) =>
        client.query(
          'with gone as (delete from a where id = 2 returning id) insert into made (what) select id::text from gone',
        ),
      );
      expect(short(cte)).toEqual(['message', 'public.a: DELETE', 'public.made: INSERT']);
      const truncate = await inSession((client) => client.query('truncate a, b'));
      expect(short(truncate)).toEqual(['message', 'public.a, public.b: TRUNCATE']);
    });

    test('a cascade from a table that is not covered is covered by the other table’s own trigger', async () => {
      await database.query(`
        create table hidden_parent (id int primary key);
        create table child (id int primary key references hidden_parent on delete cascade);
        insert into hidden_parent values (1); insert into child values (1);`);
      const lines = await inSession((client) => client.query('delete from hidden_parent'));
      expect(short(lines)).toEqual(['public.hidden_parent: DELETE', 'message', 'public.child: DELETE']);
    });

    test('covers a partitioned table, its partitions at every level, and those that come later', async () => {
      const lines = await inSession(async (client) => {
        await client.query('insert into p values (1, 1), (1, 2)');
        await client.query('insert into p21 values (1, 2)');
        await client.query('create table p3 partition of p for values in (3)');
        await client.query('insert into p3 values (1, 3)');
      });
      expect(short(lines)).toEqual([
        'message',
        'public.p1: INSERT',
        'public.p21: INSERT',
        'message',
        'public.p21: INSERT',
        'message',
        'public.p3: INSERT',
      ]);
      const names = (await readSessionContext(control, matcher)).attached.map((one) => one.table);
      expect(names).toEqual(expect.arrayContaining(['p', 'p1', 'p2', 'p21', 'p3']));
    });

    test('covers new tables that the patterns want, whoever creates them, and no others', async () => {
      const lines = await inSession(async (client) => {
        await client.query('create table fresh (id int primary key)');
        await client.query('create temp table fleeting (id int)');
        await client.query('create table hidden_d (id int primary key)');
        await client.query('create schema if not exists elsewhere_ authorization current_user').catch(() => undefined);
        await client.query('insert into fresh values (1)');
        await client.query('insert into fleeting values (1)');
        await client.query('insert into hidden_d values (1)');
      }, writer);
      expect(short(lines)).toEqual(['message', 'public.fresh: INSERT', 'public.hidden_d: INSERT']);
      const state = await readSessionContext(control, matcher);
      expect(state.missing).toEqual([]);
      expect(state.eventTrigger).toBe(true);
      expect(state.attached.map((one) => one.table)).not.toContain('hidden_d');
    });

    test('covers tables that come to fit: renamed, moved, attached, made with their schema, logged', async () => {
      const lines = await inSession(async (client) => {
        await client.query(`create table hidden_e (id int); alter table hidden_e rename to shown_e;
          create schema aside create table moved (id int); alter table aside.moved set schema public;
          create table hidden_part (id int, part int); alter table p attach partition hidden_part for values in (4);
          create unlogged table light (id int); alter table light set logged;
          create table hidden_tree (id int) partition by list (id);
          create table leaf partition of hidden_tree for values in (1);
          create table "Odd ""name" (id int); alter table "Odd ""name" rename column id to "the id";`);
        for (const table of ['shown_e', 'moved', 'light', 'hidden_tree', '"Odd ""name"'])
          await client.query(`insert into ${table} values (1)`);
        await client.query('insert into hidden_part values (1, 4)');
      });
      expect(lines.filter((line) => line.startsWith('message'))).toHaveLength(6);
      const state = await readSessionContext(control, matcher);
      expect(state.missing).toEqual([]);
    });

    test('leaves a trigger alone that its owner disabled, and never fails or holds up a migration', async () => {
      const off = 'alter table shown_e disable trigger changetrail_session_context; alter table shown_e add v int';
      const lines = await inSession(async (client) => {
        await client.query(off);
        await client.query('insert into shown_e values (2)');
        await client.query('alter table shown_e enable always trigger changetrail_session_context');
      });
      expect(lines).toEqual(['public.shown_e: INSERT']);
      await database.query('drop trigger changetrail_session_context on p1');
      const blocker = await connect();
      await blocker.query('begin; lock table p1, p2');
      const migration = await inSession(async (client) => {
        await client.query("set statement_timeout = '20s'");
        await client.query('create table p5 partition of p for values in (5)');
        await client.query('insert into p5 values (1, 5)');
      });
      expect(short(migration)).toEqual(['message', 'public.p5: INSERT']);
      await blocker.query('rollback');
      await blocker.end();
      await install();
    });

    test('a tree of many partitions that comes to fit, one of them locked: waits once, and so does the application', async () => {
      await database.query(`create table hidden_many (id int primary key) partition by list (id);
        do $$ begin for i in 1..50 loop
          execute format('create table hidden_many_%s partition of hidden_many for values in (%s)', i, i);
        end loop; end $$`);
      const [blocker, application, migration] = [await connect(), await connect(), await connect()];
      await blocker.query('begin; lock table hidden_many_25 in row exclusive mode');
      await migration.query("set statement_timeout = '20s'");
      const elapsed = async (work: () => Promise<unknown>) => {
        const began = performance.now();
        await work();
        return performance.now() - began;
      };
      const writes = async () => {
        for (let i = 0; i < 20; i++) {
          await application.query('insert into hidden_many_40 values (40) on conflict do nothing');
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      const [migrated, written] = await Promise.all([
        elapsed(() => migration.query('alter table hidden_many rename to many')),
        elapsed(writes),
      ]);
      expect(migrated).toBeLessThan(2_500);
      expect(written).toBeLessThan(3_500);
      await blocker.query('rollback');
      expect((await readSessionContext(control, matcher)).missing).not.toEqual([]);
      // The same session goes on covering what comes: nothing is left behind by the one that gave up.
      await migration.query('begin; alter table many rename to many_b; alter table many_b rename to many; commit');
      expect((await readSessionContext(control, matcher)).missing).toEqual([]);
      await Promise.all([blocker.end(), application.end(), migration.end()]);
    });

    test('fires in a session that replays replicated changes, too', async () => {
      const lines = await inSession(async (client) => {
        await client.query('set session_replication_role = replica');
        await client.query('insert into a values (20, 0)');
      });
      expect(short(lines)).toEqual(['message', 'public.a: INSERT']);
    });

    test('cannot be kept silent: the setting it keeps its place in means nothing to others', async () => {
      const lines = await inSession(async (client) => {
        await client.query('begin');
        await client.query('update a set v = 1 where id = 20');
        const { rows } = await client.query("select current_setting('changetrail.session') as guard");
        await client.query('commit');
        await client.query('begin');
        await client.query("select set_config('changetrail.session', $1, false)", [rows[0].guard]);
        await client.query('update a set v = 2 where id = 20');
        await client.query('commit');
      }, writer);
      expect(short(lines)).toEqual(['message', 'public.a: UPDATE', 'message', 'public.a: UPDATE']);
    });

    test('is sealed: the key is readable to Changetrail only, and the seal fits the message and its transaction', async () => {
      const client = await connect(writer);
      await expect(client.query('select seal_key from changetrail.session_key')).rejects.toMatchObject({
        code: '42501',
      });
      await expect(
        client.query(
          'create trigger mine before insert on fresh for each statement execute function changetrail.session_context()',
        ),
      ).rejects.toMatchObject({ code: '42501' });
      await client.end();
      const reader = await ControlClient.connect(database.url.replace(/\/\/[^:@/]*/, `//${role}`), 'test');
      const key = await readSessionKey(reader);
      await reader.close();
      expect(key).toHaveLength(32);
      const stranger = await ControlClient.connect(database.url.replace(/\/\/[^:@/]*/, `//${writer}`), 'test');
      expect(await readSessionKey(stranger)).toBeNull();
      await stranger.close();
      await log();
      await database.query('update a set v = 30 where id = 20');
      const { rows } = await database.query(
        `select xid::text, data from pg_logical_slot_get_changes('s_${database.name}', null, null) where data like 'message%'`,
      );
      const seal = new SessionSeal();
      seal.setKey(key);
      const content = Buffer.from(/content:(.*)$/s.exec(rows[0].data)![1]!);
      expect(seal.open(content, rows[0].xid)?.seal).toBe('sealed');
      expect(seal.open(content, '1')?.seal).toBe('forged');
      expect(seal.open(Buffer.from(content.toString().replace('"user" : "', '"user" : "x')), rows[0].xid)?.seal).toBe(
        'forged',
      );
    });

    test('takes any text in settings and never fails the write', async () => {
      const nasty = ['"\\\u0001\u001f\'; drop table a; --', '😀'.repeat(20_000), '{"a":', ''];
      for (const text of nasty) {
        const lines = await inSession(async (client) => {
          await client.query('begin');
          await client.query("select set_config('app.user_id', $1, true)", [text]);
          await client.query('update a set v = v + 1 where id = 20');
          await client.query('commit');
        });
        expect(short(lines)).toEqual(['message', 'public.a: UPDATE']);
        expect(JSON.parse(lines[0]!.slice(8)).settings['app.user_id']).toBe([...text].slice(0, 16_384).join(''));
      }
    });

    test('takes as many settings as are named', async () => {
      const many = Array.from({ length: 120 }, (_, at) => `app.s${at}`);
      await install(many);
      const lines = await inSession((client) =>
        client.query("begin; set local app.s119 = 'last'; update a set v = v + 1 where id = 20; commit"),
      );
      expect(short(lines)).toEqual(['message', 'public.a: UPDATE']);
      const { settings } = JSON.parse(lines[0]!.slice(8));
      expect(Object.keys(settings)).toEqual(many);
      expect(settings).toMatchObject({ 'app.s0': null, 'app.s119': 'last' });
      await install();
    });

    test('without its key still says who it is, unsealed, and the write goes on', async () => {
      await database.query(
        'create table changetrail.kept as table changetrail.session_key; delete from changetrail.session_key',
      );
      const lines = await inSession((client) => client.query('update a set v = 40 where id = 20'));
      expect(short(lines)).toEqual(['message', 'public.a: UPDATE']);
      await database.query('insert into changetrail.session_key table changetrail.kept; drop table changetrail.kept');
    });

    test('installing again changes nothing, and removing leaves nothing', async () => {
      const before = await readSessionKey(control);
      await install();
      expect(await readSessionKey(control)).toEqual(before);
      const state = await readSessionContext(control, matcher);
      for (const statement of removeSessionContextSql(state.attached)) await control.query(statement);
      const { rows } = await database.query(`
        select (select count(*) from pg_trigger where tgname like 'changetrail%')
          + (select count(*) from pg_event_trigger where evtname like 'changetrail%')
          + (select count(*) from pg_namespace where nspname = 'changetrail')
          + (select count(*) from pg_proc where proname like 'session_context%') as left`);
      expect(Number(rows[0].left)).toBe(0);
      const lines = await inSession((client) => client.query('update a set v = 50 where id = 20'));
      expect(short(lines)).toEqual(['public.a: UPDATE']);
      await install();
      await database.query('create function changetrail.set_actor() returns void language sql as $f$ select $f$');
      for (const statement of removeSessionContextSql((await readSessionContext(control, matcher)).attached))
        await control.query(statement);
      await database.query('select changetrail.set_actor()');
    });
  });
}
