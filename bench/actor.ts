// What knowing the actor costs: the database, for the session trigger; the capture, for each kind of message.
import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';
import pg from 'pg';
import { ControlClient } from '../connectors/postgres/client.ts';
import { tableMatcher } from '../connectors/postgres/patterns.ts';
import { applyRemoval, applySessionContext, readSessionContext } from '../connectors/postgres/session-context.ts';
import { ActorMetrics } from '../src/actor/metrics.ts';
import { actorOptions } from '../src/actor/options.ts';
import { createActorStage } from '../src/actor/stage.ts';
import { createSigner } from '../src/context/signer.ts';
import { ByteWriter } from '../src/record/byte-writer.ts';
import { providePostgres } from '../test/support/provide.ts';
import { consumerCommand } from './lib/consumers.ts';
import { withDrains } from './lib/drain.ts';
import { median, processUsage } from './lib/measure.ts';
import { startBenchServer } from './lib/postgres.ts';
import { saveResult } from './lib/report.ts';

export interface ActorBenchOptions {
  readonly rounds: number;
}

export async function runActor(options: ActorBenchOptions): Promise<void> {
  await benchTrigger(options.rounds);
  await benchDrain(options.rounds);
  // Last: it warms this process up, not the ones that were measured.
  benchStage(options.rounds);
}

const MAJOR = 18;
const SETTINGS = ['app.user_id', 'request.jwt.claims'];
/** Updates by the client in one block; blocks with and without the trigger take turns. */
const CLIENT_UPDATES = 10_000;
const SERVER_UPDATES = 20_000;
const MANY_ROWS = 100_000;

/** Each gives microseconds of the server process's own CPU for an update (or the statement): a busy machine adds less to it than to wall time. */
const TRIGGER_WORK: Readonly<Record<string, (work: TriggerWork) => Promise<number>>> = {
  'one row, a transaction each, by a client': (work) => byClient(work),
  'one row, a transaction each, inside the server': (work) =>
    inServer(work, `call singles(${SERVER_UPDATES})`, SERVER_UPDATES),
  'one row, all in one transaction, inside the server': (work) =>
    inServer(work, `call together(${SERVER_UPDATES})`, SERVER_UPDATES),
  '100,000 rows in one statement': (work) => inServer(work, 'update t set v = v + 1', 1),
};

interface TriggerWork {
  readonly client: pg.Client;
  /** CPU seconds that the client's server process has used. */
  cpu(): number;
}

async function benchTrigger(rounds: number): Promise<void> {
  await using server = await providePostgres({
    major: MAJOR,
    fresh: true,
    settings: {
      shared_buffers: '512MB',
      autovacuum: 'off',
      max_wal_size: '8GB',
      checkpoint_timeout: '1h',
      fsync: 'on',
      synchronous_commit: 'on',
    },
  });
  const database = await server.createDatabase('actor');
  await database.query(`
    create table t (id int primary key, v int not null) with (fillfactor = 50);
    insert into t select g, 0 from generate_series(1, ${MANY_ROWS}) g;
    create procedure singles(n int) language plpgsql as $p$ begin
      for i in 1..n loop update t set v = v + 1 where id = 1 + i % 1000; commit; end loop; end $p$;
    create procedure together(n int) language plpgsql as $p$ begin
      for i in 1..n loop update t set v = v + 1 where id = 1 + i % 1000; end loop; end $p$;`);
  const control = await ControlClient.connect(database.url, 'bench');
  const client = new pg.Client({ connectionString: database.url, application_name: 'bench' });
  await client.connect();
  await client.query(
    `set synchronous_commit = off; set app.user_id = '42'; set request.jwt.claims = '{"sub":"42","role":"authenticated"}'`,
  );
  const { rows } = await client.query('select pg_backend_pid() as pid');
  const work: TriggerWork = { client, cpu: () => processUsage(rows[0].pid)?.cpuSeconds ?? performance.now() / 1000 };
  const without = new Map<string, number[]>();
  const withTrigger = new Map<string, number[]>();
  for (let round = 0; round < rounds + 1; round++) {
    for (const installed of [false, true]) {
      await setInstalled(control, installed);
      for (const [name, run] of Object.entries(TRIGGER_WORK)) {
        const micros = await run(work);
        await client.query('vacuum t');
        // The first round warms the caches up.
        if (round > 0) push(installed ? withTrigger : without, name, micros);
      }
    }
    console.error(`actor: trigger, round ${round} of ${rounds}`);
  }
  await client.end();
  await control.close();
  saveResult({
    workload: 'Actor session trigger',
    about: `Session context with two settings, PostgreSQL ${server.version}, with and without in turns, ${rounds} rounds. CPU time of the server’s process for an update, or for the statement; without waiting for the disk.`,
    budget: 'stated, not bounded',
    columns: ['work', 'without, µs CPU', 'with, µs CPU', 'added, µs CPU', 'added, %'],
    rows: Object.keys(TRIGGER_WORK).map((name) => {
      const [before, after] = [median(without.get(name)!), median(withTrigger.get(name)!)];
      const added = after - before;
      return [name, before.toFixed(0), after.toFixed(0), added.toFixed(0), ((100 * added) / before).toFixed(1)];
    }),
    limit: 'the trigger function: it reads the key, hashes and writes one message of about 300 bytes a transaction.',
  });
}

async function setInstalled(control: ControlClient, installed: boolean): Promise<void> {
  const state = await readSessionContext(control, tableMatcher(['public.*']));
  if (!installed) return applyRemoval(control, state.attached);
  await applySessionContext(control, {
    tables: state.missing,
    patterns: ['public.*'],
    settings: SETTINGS,
    reader: 'postgres',
  });
}

async function byClient({ client, cpu }: TriggerWork): Promise<number> {
  const before = cpu();
  for (let i = 0; i < CLIENT_UPDATES; i++) {
    await client.query({ name: 'one', text: 'update t set v = v + 1 where id = $1', values: [1 + (i % 1000)] });
  }
  return ((cpu() - before) * 1e6) / CLIENT_UPDATES;
}

async function inServer({ client, cpu }: TriggerWork, sql: string, updatesMade: number): Promise<number> {
  const before = cpu();
  await client.query(sql);
  return ((cpu() - before) * 1e6) / updatesMade;
}

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const SECRET = 'a secret that is long enough for HMAC';
const SEAL_KEY = randomBytes(32);
const ACTORS = {
  claims: {
    keys: [
      { id: 'ed', algorithm: 'EdDSA', key: publicKey.export({ type: 'spki', format: 'pem' }) },
      { id: 'mac', algorithm: 'HS256', key: SECRET },
    ],
    max_life: 86_400,
  },
};
const signers = {
  ed: createSigner({ keyId: 'ed', privateKey, lifetimeSeconds: 86_400 }),
  mac: createSigner({ keyId: 'mac', secret: SECRET, lifetimeSeconds: 86_400 }),
};
/** People who use an application at the same time. */
const USERS = 500;

function plainMessage(i: number): string {
  return JSON.stringify({
    id: `user-${i % USERS}@example.com`,
    type: 'user',
    client: '10.0.0.7',
    session: `s-${i % USERS}`,
  });
}

function signedMessage(i: number, signer: 'ed' | 'mac'): string {
  return JSON.stringify({ claim: signers[signer].sign(plainMessage(i)) });
}

function sessionMessage(i: number): string {
  const facts = { user: 'app', role: null, client: '10.0.0.7', app: 'api', pid: 4000 + (i % 50) };
  const body = `${i} ${JSON.stringify(facts)}`;
  return `${createHmac('sha256', SEAL_KEY).update(body).digest('hex')} ${body}`;
}

/** Messages of one transaction, by kind. */
const KINDS: Readonly<Record<string, (i: number) => readonly (readonly ['message' | 'session', string])[]>> = {
  'no message': () => [],
  [`a message, ${USERS} users`]: (i) => [['message', plainMessage(i)]],
  'a message, each one different': (i) => [['message', JSON.stringify({ id: `user-${i}`, request_id: `r-${i}` })]],
  'sealed session context': (i) => [['session', sessionMessage(i)]],
  'session context and message': (i) => [
    ['session', sessionMessage(i)],
    ['message', plainMessage(i)],
  ],
  'claim signed with HMAC-SHA-256': (i) => [['message', signedMessage(i, 'mac')]],
  'claim signed with Ed25519': (i) => [['message', signedMessage(i, 'ed')]],
};

const STAGE_TRANSACTIONS = 20_000;
const CHANGES_IN_TRANSACTION = 10;

function benchStage(rounds: number): void {
  const rows = Object.entries(KINDS).map(([name, make]) => {
    const messages = Array.from({ length: STAGE_TRANSACTIONS }, (_, i) =>
      make(i).map(([via, text]) => ({ via, text: Buffer.from(text) })),
    );
    const times = Array.from({ length: rounds + 1 }, () => stageRun(messages)).slice(1);
    const micros = (median(times) * 1000) / STAGE_TRANSACTIONS;
    return [name, micros.toFixed(2), (micros / CHANGES_IN_TRANSACTION).toFixed(3)];
  });
  saveResult({
    workload: 'Actor stage',
    about: `The actor stage alone: ${STAGE_TRANSACTIONS.toLocaleString('en')} transactions of ${CHANGES_IN_TRANSACTION} changes, the fragment copied into each. Signed claims are each different.`,
    budget: '≤ 8 µs CPU a change for everything',
    columns: ['in each transaction', 'µs CPU a transaction', 'µs CPU a change'],
    rows,
    limit: 'the signature check where there is one; otherwise the copy of the fragment.',
  });
}

function stageRun(messages: readonly (readonly { via: 'message' | 'session'; text: Buffer }[])[]): number {
  const stage = createActorStage({ source: 'bench', options: actorOptions.parse(ACTORS), metrics: new ActorMetrics() });
  stage.sessionKey(SEAL_KEY);
  const out = new ByteWriter(1 << 20);
  const timeMs = Date.now();
  const before = process.cpuUsage().user;
  messages.forEach((facts, i) => {
    stage.begin({ id: String(i), timeMs });
    for (const fact of facts) stage.observe(fact);
    for (let change = 0; change < CHANGES_IN_TRANSACTION; change++) {
      out.bytes(stage.fragment());
      stage.count('public', 'orders', 1);
    }
    if (out.pos > 1 << 19) out.pos = 0;
  });
  return (process.cpuUsage().user - before) / 1000;
}

const DRAIN_BLOCKS = 10_000;
const CHANGES_IN_BLOCK = 10;
const DRAIN_KINDS = [
  'no message',
  `a message, ${USERS} users`,
  'claim signed with HMAC-SHA-256',
  'claim signed with Ed25519',
];

/** The whole product drains the same work with and without an actor message in every transaction. */
async function benchDrain(rounds: number): Promise<void> {
  const server = await startBenchServer();
  try {
    const backlogs: { kind: string; slot: string; end: string }[] = [];
    for (const [at, kind] of DRAIN_KINDS.entries()) backlogs.push({ kind, ...(await backlog(server, at, kind)) });
    const runs = new Map<string, { rate: number; cpu: number }[]>();
    await withDrains(async (drain) => {
      for (let round = 0; round < rounds; round++) {
        for (const { kind, slot, end } of backlogs) {
          await server.query(`select pg_copy_logical_replication_slot('${slot}', 'drain', false, 'pgoutput')`);
          const changes = DRAIN_BLOCKS * CHANGES_IN_BLOCK;
          const run = await drain({
            name: kind,
            command: consumerCommand('changetrail'),
            environment: { ...server.environment('drain'), END_LSN: end, ACTORS: JSON.stringify(ACTORS) },
            changes,
            writes: true,
            goesOn: true,
          });
          const list = runs.get(kind) ?? [];
          list.push({ rate: changes / run.wallSeconds, cpu: (run.cpuSeconds * 1e6) / changes });
          runs.set(kind, list);
          await server.query(`select pg_drop_replication_slot('drain')`);
        }
        console.error(`actor: drain, round ${round + 1} of ${rounds}`);
      }
    });
    const base = median(runs.get(DRAIN_KINDS[0]!)!.map((run) => run.rate));
    saveResult({
      workload: 'Actor drain',
      about: `The whole product, ${(DRAIN_BLOCKS * CHANGES_IN_BLOCK).toLocaleString('en')} changes, ${CHANGES_IN_BLOCK} a transaction, PostgreSQL ${server.version}, ${rounds} rounds. Wall time of the process, its start included.`,
      budget: 'as W1',
      columns: ['in each transaction', 'changes/s', '× no message', 'µs CPU a change'],
      rows: [...runs].map(([kind, list]) => {
        const rate = median(list.map((run) => run.rate));
        return [
          kind,
          Math.round(rate).toLocaleString('en'),
          (rate / base).toFixed(2),
          median(list.map((run) => run.cpu)).toFixed(1),
        ];
      }),
      limit: 'as W1; with Ed25519 the signature checks.',
    });
  } finally {
    await server.close();
  }
}

/** A slot with its backlog: W1's work, with this kind's message first in every transaction. */
async function backlog(
  server: Awaited<ReturnType<typeof startBenchServer>>,
  at: number,
  kind: string,
): Promise<{ slot: string; end: string }> {
  const slot = `base_${at}`;
  await server.query(`drop table if exists said; create unlogged table said (n int primary key, text text)`);
  for (let from = 0; from < DRAIN_BLOCKS; from += 1000) {
    const values = Array.from({ length: 1000 }, (_, i) => KINDS[kind]!(from + i)[0]?.[1] ?? null)
      .map((text, i) => `(${from + i}, ${text === null ? 'null' : pg.escapeLiteral(text)})`)
      .join(',');
    await server.query(`insert into said values ${values}`);
  }
  await server.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
  await server.query(`do $do$
    declare say text; k bigint;
    begin
      for i in 0..${DRAIN_BLOCKS - 1} loop
        select said.text into say from said where said.n = i;
        if say is not null then perform pg_logical_emit_message(true, 'changetrail', say); end if;
        k := ${(at + 1) * 10_000_000} + i * 10;
        insert into orders select (mk(k + j)).* from generate_series(0, ${CHANGES_IN_BLOCK - 1}) j;
        commit;
      end loop;
    end $do$`);
  const [row] = await server.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
  await server.query(`select pg_logical_emit_message(false, 'bench', 'end'); select pg_switch_wal()`);
  return { slot, end: row!.lsn };
}

function push(map: Map<string, number[]>, name: string, value: number): void {
  const list = map.get(name) ?? [];
  list.push(value);
  map.set(name, list);
}
