import { generateKeyPairSync } from 'node:crypto';
import process from 'node:process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ControlClient } from '../../connectors/postgres/client.ts';
import { tableMatcher } from '../../connectors/postgres/patterns.ts';
import { readSessionContext, sessionContextSql } from '../../connectors/postgres/session-context.ts';
import { createSigner } from '../../src/context/signer.ts';
import { type AuditRecord, type Capture, startCapture } from '../support/capture.ts';
import { postgresMajors, postgresMissing, providePostgres, type TestDatabase } from '../support/provide.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const signer = createSigner({ keyId: 'k', privateKey });

/** A rung of the ladder: how a client says who acts, and what the record then has. */
interface Rung {
  readonly via: string;
  readonly assurance: string;
  /** Who it names, or null: in most rungs any actor that is no database role. */
  names?(actor: NonNullable<AuditRecord['actor']>): string | null;
  /** A statement to run in the transaction before the changes it is for. */
  say(who: string): string;
  /** Statements, each committed by itself, that insert one row into `child` for this actor. */
  autocommit(who: string, id: number): readonly string[];
}

/** Front of the names of roles that this test makes. */
const ROLES = `matrix_${process.pid}_`;

const literal = (text: string) => pg.escapeLiteral(text);
const emit = (prefix: string, content: object) =>
  `select pg_logical_emit_message(true, '${prefix}', ${literal(JSON.stringify(content))})`;
/** The message is written when the statement's FROM is evaluated, before its first row. */
const inOneStatement = (say: (who: string) => string) => (who: string, id: number) => [
  `insert into child select ${id} from (${say(who)}) said`,
];

const sayMessage = (who: string) => emit('changetrail', { id: who });
const saySigned = (who: string) => emit('changetrail', { claim: signer.sign(JSON.stringify({ id: who })) });
const saySequin = (who: string) => emit('sequin:transaction_annotations.set', { user_id: who });

const RUNGS: Record<string, Rung> = {
  message: { via: 'message', assurance: 'claimed', say: sayMessage, autocommit: inOneStatement(sayMessage) },
  'signed message': { via: 'message', assurance: 'verified', say: saySigned, autocommit: inOneStatement(saySigned) },
  sequin: { via: 'sequin', assurance: 'claimed', say: saySequin, autocommit: inOneStatement(saySequin) },
  'session setting': {
    via: 'session',
    assurance: 'claimed',
    say: (who) => `select set_config('app.user_id', ${literal(who)}, true)`,
    autocommit: (who, id) => [
      `set app.user_id = ${literal(who)}`,
      `insert into child values (${id})`,
      'reset app.user_id',
    ],
  },
  session: {
    via: 'session',
    assurance: 'verified',
    // Another login would be another connection: this is what a session says after one.
    names: ({ id }) => (id?.startsWith(ROLES) ? id.slice(ROLES.length) : null),
    say: (who) => `set local session authorization ${ROLES}${who}`,
    autocommit: (who, id) => [
      `set session authorization ${ROLES}${who}`,
      `insert into child values (${id})`,
      'reset session authorization',
    ],
  },
};

/** Everybody who acts somewhere below, as a role that may write. */
const CREATE_ROLES = `do $do$
  declare who text;
  begin
    create role ${ROLES}writers;
    grant select, insert, update, delete on all tables in schema public to ${ROLES}writers;
    grant usage on all sequences in schema public to ${ROLES}writers;
    for who in select 'alice' union select 'bob' union select w || 1000 * round + 20 * lane
      from unnest(array['w', 'v']) w, generate_series(0, 9) round, generate_series(0, 9) lane
    loop
      execute format('create role %I in role ${ROLES}writers', '${ROLES}' || who);
    end loop;
  end $do$`;
const DROP_ROLES = `do $do$
  declare who text;
  begin
    for who in select rolname from pg_roles where rolname like '${ROLES.replaceAll('_', '\\_')}%' loop
      execute format('drop role %I', who);
    end loop;
  end $do$`;

for (const major of postgresMajors()) {
  describe.skipIf(await postgresMissing(major))(`every rung of the ladder on PostgreSQL ${major}`, () => {
    let database: TestDatabase;
    let capture: Capture;
    let client: pg.Client;

    beforeAll(async () => {
      const server = await providePostgres({ major });
      database = await server.createDatabase();
      await database.query(`
        create table t (id int primary key, v text, updated_by text);
        create table child (id int primary key, parent int references t on delete cascade);
        create table audit (id serial primary key, what text);
        create table bemi (id int primary key, v text);
        create table mark (id text primary key);
        create function note() returns trigger language plpgsql as $f$
          begin insert into audit (what) values (tg_op || ' ' || new.id); return null; end $f$;
        create trigger note after insert or update on t for each row execute function note();
        create function bemi_like() returns trigger language plpgsql as $f$
          declare said text := split_part(split_part(current_query(), '/*Bemi ', 2), ' Bemi*/', 1);
          begin
            if said <> '' then perform pg_logical_emit_message(true, '_bemi', said); end if;
            if tg_op = 'DELETE' then return old; end if;
            return new;
          end $f$;
        create trigger bemi before insert or update or delete on bemi for each row execute function bemi_like();`);
      await database.query(CREATE_ROLES);
      capture = await startCapture({
        url: database.url,
        configuration: {
          actors: {
            claims: { keys: [{ id: 'k', algorithm: 'EdDSA', key: publicKey.export({ type: 'spki', format: 'pem' }) }] },
            settings: [{ name: 'app.user_id' }],
            columns: [{ tables: ['public.t'], column: 'updated_by' }],
          },
        },
      });
      await installSessionContext(database.url);
      // Not to wait until the connector looks for the key again.
      await capture.stop();
      await capture.start();
    });

    afterAll(async () => {
      await capture?.[Symbol.asyncDispose]();
      await database?.drop();
      await (await providePostgres({ major })).query(DROP_ROLES);
    });

    beforeEach(async () => {
      await database.query('truncate t, child, audit, bemi');
      client = new pg.Client({ connectionString: database.url, application_name: 'matrix' });
      await client.connect();
      return () => client.end();
    });

    /** `INSERT 1 alice` for each change since `mark`, in the order of the log. */
    async function seen(rung: Rung, mark: string): Promise<string[]> {
      const all = await capture.changes();
      const from = all.findLastIndex(
        (one) => one.object.table === 'mark' && (one.object.key as { id: string }).id === mark,
      );
      return all
        .slice(from + 1)
        .filter((one) => one.action !== 'truncate')
        .map((one) => {
          const actor = one.actor!;
          // Where nobody is said, the session itself is the actor.
          const named = rung.names === undefined ? actor.type !== 'role' && actor.id : rung.names(actor);
          const sure = named && actor.via === rung.via && actor.assurance === rung.assurance;
          expect(actor.db_user, 'the database’s facts stand beside every claim').toBeDefined();
          return `${one.object.table} ${one.action} ${(one.object.key as { id: number }).id} ${sure ? named : '-'}`;
        });
    }

    let marks = 0;
    async function mark(): Promise<string> {
      const id = String(++marks);
      await database.query('insert into mark values ($1)', [id]);
      return id;
    }

    for (const [name, rung] of Object.entries(RUNGS)) {
      describe(name, () => {
        test('an explicit transaction, and nothing carried into the next', async () => {
          const from = await mark();
          await client.query(
            `begin; ${rung.say('alice')}; insert into child values (1); insert into child values (2); commit`,
          );
          await client.query('insert into child values (3)');
          expect(await seen(rung, from)).toEqual(['child insert 1 alice', 'child insert 2 alice', 'child insert 3 -']);
        });

        test('statements that commit by themselves', async () => {
          const from = await mark();
          for (const statement of rung.autocommit('alice', 1)) await client.query(statement);
          await client.query('insert into child values (2)');
          for (const statement of rung.autocommit('bob', 3)) await client.query(statement);
          expect(await seen(rung, from)).toEqual(['child insert 1 alice', 'child insert 2 -', 'child insert 3 bob']);
        });

        test('a batch that is one implicit transaction', async () => {
          const from = await mark();
          await client.query(`${rung.say('alice')}; insert into child values (1); insert into child values (2)`);
          await client.query('insert into child values (3)');
          expect(await seen(rung, from)).toEqual(['child insert 1 alice', 'child insert 2 alice', 'child insert 3 -']);
        });

        test('a savepoint that is rolled back takes its word back', async () => {
          const from = await mark();
          await client.query(`begin; ${rung.say('alice')}; insert into child values (1)`);
          await client.query(`savepoint s; ${rung.say('bob')}; insert into child values (2); rollback to s`);
          await client.query('insert into child values (3); commit');
          expect(await seen(rung, from)).toEqual(['child insert 1 alice', 'child insert 3 alice']);
        });

        test('a word said only in a savepoint that is rolled back is nobody’s', async () => {
          const from = await mark();
          await client.query(`begin; savepoint s; ${rung.say('bob')}; insert into child values (2); rollback to s`);
          await client.query('insert into child values (3); commit');
          expect(await seen(rung, from)).toEqual(['child insert 3 -']);
        });

        test('a savepoint that is released keeps it', async () => {
          const from = await mark();
          await client.query(`begin; savepoint s; ${rung.say('bob')}; insert into child values (2); release s`);
          await client.query('insert into child values (3); commit');
          expect(await seen(rung, from)).toEqual(['child insert 2 bob', 'child insert 3 bob']);
        });

        test('prepared statements', async () => {
          const from = await mark();
          const insert = (id: number) =>
            client.query({ name: 'ins', text: 'insert into child values ($1)', values: [id] });
          await insert(1);
          await client.query('begin');
          await client.query({ name: `say-${name}`, text: rung.say('alice') });
          await insert(2);
          await insert(3);
          await client.query('commit');
          await insert(4);
          expect(await seen(rung, from)).toEqual([
            'child insert 1 -',
            'child insert 2 alice',
            'child insert 3 alice',
            'child insert 4 -',
          ]);
        });

        test('COPY', async () => {
          const from = await mark();
          await client.query('begin');
          await client.query(rung.say('alice'));
          await pipeline(Readable.from('1\t\\N\n2\t\\N\n'), client.query(copyFrom('copy child from stdin')));
          await client.query('commit');
          expect(await seen(rung, from)).toEqual(['child insert 1 alice', 'child insert 2 alice']);
        });

        test('changes made by triggers and cascades', async () => {
          const from = await mark();
          await client.query(
            `begin; ${rung.say('alice')}; insert into t values (1); insert into child values (1, 1); commit`,
          );
          await client.query(`begin; ${rung.say('bob')}; delete from t; commit`);
          const all = (await seen(rung, from)).map((line) => line.replace(/^audit insert \d+/, 'audit insert'));
          expect(all).toEqual([
            't insert 1 alice',
            'audit insert alice',
            'child insert 1 alice',
            't delete 1 bob',
            'child delete 1 bob',
          ]);
        });

        test('two actors one after the other in a transaction', async () => {
          const from = await mark();
          await client.query(`begin; insert into child values (0); ${rung.say('alice')}; insert into child values (1)`);
          await client.query(
            `${rung.say('bob')}; insert into child values (2); ${rung.say('alice')}; insert into child values (3); commit`,
          );
          expect(await seen(rung, from)).toEqual([
            'child insert 0 -',
            'child insert 1 alice',
            'child insert 2 bob',
            'child insert 3 alice',
          ]);
        });

        test('a transaction prepared for two phases keeps its actor, however late it commits', async () => {
          const from = await mark();
          const gid = `${database.name}-${marks}`;
          await client.query(`begin; ${rung.say('alice')}; insert into child values (1); prepare transaction '${gid}'`);
          await client.query(`begin; ${rung.say('bob')}; insert into child values (2); commit`);
          await client.query(`commit prepared '${gid}'`);
          expect(await seen(rung, from)).toEqual(['child insert 2 bob', 'child insert 1 alice']);
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
          // Ten rounds of twenty transactions, in each of which the statements take turns: every second one says who it is.
          for (let round = 0; round < 10; round++) {
            const id = (lane: number) => 1000 * round + 10 * lane;
            const each = (work: (one: pg.Client, lane: number) => Promise<unknown>) =>
              Promise.all(connections.map(work));
            await each((one) => one.query('begin'));
            await each((one, lane) => (lane % 2 === 0 ? one.query(rung.say(`w${id(lane)}`)) : Promise.resolve()));
            await each((one, lane) => one.query(`insert into child values (${id(lane)})`));
            await each((one, lane) => one.query(`insert into child values (${id(lane) + 1})`));
            await each((one, lane) => (lane % 4 === 0 ? one.query(rung.say(`v${id(lane)}`)) : Promise.resolve()));
            await each((one, lane) => one.query(`insert into child values (${id(lane) + 2})`));
            await each((one) => one.query('commit'));
          }
          await Promise.all(connections.map((one) => one.end()));
          const all = await seen(rung, from);
          expect(all).toHaveLength(600);
          for (const line of all) {
            const [, , key, who] = line.split(' ');
            const base = Math.floor(Number(key) / 10) * 10;
            const lane = (base % 1000) / 10;
            const second = Number(key) % 10 === 2 && lane % 4 === 0;
            expect(who, line).toBe(lane % 2 !== 0 ? '-' : second ? `v${base}` : `w${base}`);
          }
        });
      });
    }

    test('Sequin’s annotation ends with clear', async () => {
      const from = await mark();
      const { say } = RUNGS['sequin']!;
      await client.query(`begin; ${say('alice')}; insert into child values (1)`);
      await client.query(`select pg_logical_emit_message(true, 'sequin:transaction_annotations.clear', '')`);
      await client.query('insert into child values (2); commit');
      expect(await seen(RUNGS['sequin']!, from)).toEqual(['child insert 1 alice', 'child insert 2 -']);
    });

    test('Bemi’s message holds for the row it was written for and no other', async () => {
      const comment = (who: string) => `/*Bemi ${JSON.stringify({ userId: who, endpoint: '/x' })} Bemi*/`;
      await client.query('begin');
      await client.query(`insert into bemi values (1), (2) ${comment('alice')}`);
      await client.query('insert into bemi values (3)');
      await client.query(`update bemi set v = 'x' where id = 3 ${comment('bob')}`);
      await client.query('insert into child values (1)');
      await client.query('commit');
      await pipeline(Readable.from('4\tx\n'), client.query(copyFrom('copy bemi from stdin')));
      const changes = (await capture.changes()).slice(-6);
      expect(
        changes.map(
          (one) => `${one.object.table} ${(one.object.key as { id: number }).id} ${one.actor!.via} ${one.actor!.id}`,
        ),
      ).toEqual([
        'bemi 1 bemi alice',
        'bemi 2 bemi alice',
        expect.stringMatching(/^bemi 3 session /),
        'bemi 3 bemi bob',
        expect.stringMatching(/^child 1 session /),
        expect.stringMatching(/^bemi 4 session /),
      ]);
      expect(changes[0]!.context).toEqual({ userId: 'alice', endpoint: '/x' });
    });

    test('a message that is not of the transaction says nothing about it', async () => {
      const from = await mark();
      await client.query(
        `begin; select pg_logical_emit_message(false, 'changetrail', '{"id":"eve"}'); insert into child values (1); commit`,
      );
      expect(await seen(RUNGS['message']!, from)).toEqual(['child insert 1 -']);
    });

    test('hostile messages lose no change and name nobody wrongly', async () => {
      const from = await mark();
      const hostile = [
        `'{"id":'`,
        `'null'`,
        `repeat('[', 100000)`,
        `'{"id":"a","x":"' || repeat('y', 2000000) || '"}'`,
        `'\\xff00fe'::bytea`,
        `convert_to('{"id":"', 'UTF8') || '\\xc3'::bytea || convert_to('"}', 'UTF8')`,
        `''`,
      ];
      await client.query('begin');
      for (const [at, text] of hostile.entries()) {
        await client.query(`select pg_logical_emit_message(true, 'changetrail', ${text})`);
        await client.query(`insert into child values (${at})`);
      }
      await client.query('commit');
      const lines = await seen(RUNGS['message']!, from);
      expect(lines).toEqual([0, 1, 2, 3, 4, 5, 6].map((at) => `child insert ${at} ${at === 5 ? '\ufffd' : '-'}`));
    });

    test('the database’s word is verified and cannot be forged', async () => {
      await client.query('begin');
      await client.query('insert into child values (1)');
      await client.query(
        `select pg_logical_emit_message(true, 'changetrail.session', repeat('0', 64) || ' ' || pg_current_xact_id() || ' {"user":"nobody"}')`,
      );
      await client.query('insert into child values (2)');
      await client.query('commit');
      const [one, two] = (await capture.changes('child')).slice(-2);
      expect(one!.actor).toMatchObject({ assurance: 'verified', via: 'session', type: 'role', db_app: 'matrix' });
      expect(one!.actor).not.toHaveProperty('reason');
      expect(two!.actor).toMatchObject({ id: one!.actor!.id, assurance: 'verified', reason: 'session_forged' });
    });

    test('a claim copied into another transaction is replayed', async () => {
      const say = emit('changetrail', { claim: signer.sign('{"id":"alice"}') });
      await client.query(`begin; ${say}; insert into child values (1); commit`);
      await client.query(`begin; ${say}; insert into child values (2); commit`);
      const [one, two] = (await capture.changes('child')).slice(-2);
      expect(one!.actor).toMatchObject({ id: 'alice', assurance: 'verified' });
      expect(two!.actor).toMatchObject({ id: 'alice', assurance: 'claimed', reason: 'claim_replayed' });
    });

    test('a claim copied across a restart is replayed too, whether the end was orderly or not', async () => {
      for (const [at, end] of (['stop', 'abort'] as const).entries()) {
        const say = emit('changetrail', { claim: signer.sign('{"id":"alice"}') });
        await client.query(`begin; ${say}; insert into child values (${2 * at}); commit`);
        const one = (await capture.changes('child')).at(-1);
        expect(one!.actor).toMatchObject({ id: 'alice', assurance: 'verified' });
        await capture[end]();
        await capture.start();
        await client.query(`begin; ${say}; insert into child values (${2 * at + 1}); commit`);
        const two = (await capture.changes('child')).at(-1);
        expect(two!.actor, end).toMatchObject({ id: 'alice', assurance: 'claimed', reason: 'claim_replayed' });
      }
    });

    test('a claim for another source is not verified here', async () => {
      for (const audience of ['shop', 'crm']) {
        const claim = createSigner({ keyId: 'k', privateKey, audience }).sign('{"id":"alice"}');
        await client.query(`begin; ${emit('changetrail', { claim })}; insert into child values (1); commit`);
        const { actor } = (await capture.changes('child')).at(-1)!;
        const foreign = { assurance: 'claimed', reason: 'claim_wrong_audience' };
        expect(actor).toMatchObject({ id: 'alice', ...(audience === 'shop' ? { assurance: 'verified' } : foreign) });
        await database.query('delete from child');
      }
    });
  });
}

async function installSessionContext(url: string): Promise<void> {
  const client = await ControlClient.connect(url, 'test');
  try {
    const { missing } = await readSessionContext(client, tableMatcher(['public.*']));
    const reader = decodeURIComponent(new URL(url).username);
    const options = { tables: missing, patterns: ['public.*'], settings: ['app.user_id'], reader };
    for (const statement of sessionContextSql(options)) await client.query(statement);
  } finally {
    await client.close();
  }
}
