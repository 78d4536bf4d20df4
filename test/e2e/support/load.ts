import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** A small seeded generator (mulberry32): the same seed gives the same numbers everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function seedFromEnvironment(): number {
  const given = process.env['CHANGETRAIL_TEST_SEED'];
  return given === undefined ? Date.now() & 0xffffff : Number(given);
}

/** Tables of the load: with and without a long value, all REPLICA IDENTITY FULL so that each change can be checked against the one before. */
export const LOAD_TABLES = ['account', 'entry', 'note'] as const;

export const LOAD_SCHEMA = `
  create schema elsewhere;
  create table elsewhere.log (n int);
  create table account (id int primary key, owner text, balance int);
  create table entry (id int generated always as identity primary key, account int, amount int, who text);
  create table note (id int generated always as identity primary key, seen int default 0, body text);
  alter table account replica identity full;
  alter table entry replica identity full;
  alter table note replica identity full;
  alter table note alter column body set storage external;`;

export interface LoadOptions {
  readonly url: string;
  readonly seed: number;
  readonly connections: number;
  /** Transactions to begin with; more by `allow`. Default: as many as there is time for. */
  readonly transactions?: number;
}

/** Mixed transactions on several connections until it is stopped; a server that goes away is waited for. */
export class Load {
  readonly #options: LoadOptions;
  readonly #workers: Promise<void>[];
  #stopped = false;
  /** So many transactions are run, however slow the machine: a test's size does not depend on its speed. */
  #allowed: number;
  transactions = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#allowed = options.transactions ?? Number.POSITIVE_INFINITY;
    this.#workers = Array.from({ length: options.connections }, (_, i) => this.#work(i));
  }

  allow(transactions: number): void {
    this.#allowed += transactions;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#workers);
  }

  async #work(worker: number): Promise<void> {
    const random = randomFrom(this.#options.seed * 31 + worker);
    while (!this.#stopped) {
      const client = new pg.Client({ connectionString: this.#options.url, connectionTimeoutMillis: 10_000 });
      client.on('error', () => {});
      try {
        await client.connect();
        while (!this.#stopped) {
          if (this.transactions >= this.#allowed) {
            await sleep(10);
            continue;
          }
          this.transactions++;
          await this.#transaction(client, worker, random);
          // The test is about order and loss; how fast changes can be read is the bench's matter.
          await sleep(random() * 10);
        }
      } catch (error) {
        // The server was killed or restarts; anything else is a defect of the test.
        if (!isConnectionLoss(error)) throw error;
        await sleep(20);
      } finally {
        await client.end().catch(() => {});
      }
    }
  }

  async #transaction(client: pg.Client, worker: number, random: () => number): Promise<void> {
    const pick = random();
    const id = worker * 1000 + Math.floor(random() * 50);
    const upsert = `insert into account values (${id}, 'o${worker}', 1) on conflict (id) do update set balance = account.balance + 1`;
    if (pick < 0.35) {
      await client.query(upsert);
    } else if (pick < 0.5) {
      await client.query('begin');
      await client.query(`select pg_logical_emit_message(true, 'changetrail', '{"id":"w${worker}","reason":"load"}')`);
      await client.query(
        `insert into entry (account, amount, who) select ${id}, g, 'w${worker}' from generate_series(1, 20) g`,
      );
      await client.query(
        `update entry set amount = amount + 1 where id in (select id from entry where account = ${id} order by id limit 10)`,
      );
      await client.query('commit');
    } else if (pick < 0.6) {
      await client.query('begin');
      await client.query(upsert);
      await client.query('savepoint s');
      await client.query(
        `insert into entry (account, amount, who) select ${id}, -g, 'rolled back' from generate_series(1, 30) g`,
      );
      await client.query('rollback to savepoint s');
      await client.query(`insert into entry (account, amount, who) values (${id}, 0, 'kept')`);
      await client.query('commit');
    } else if (pick < 0.7) {
      await client.query('begin');
      await client.query(
        `insert into entry (account, amount, who) select ${id}, g, 'aborted' from generate_series(1, 50) g`,
      );
      await client.query(`delete from account where id = ${id}`);
      await client.query('rollback');
    } else if (pick < 0.8) {
      await client.query(`delete from account where id = ${id}`);
    } else if (pick < 0.87) {
      // The long value is kept out of line: the update does not send it again.
      await client.query(`insert into note (body) values (repeat('\u00e9"\\n\u{1f600}', 1000))`);
      await client.query(
        `update note set seen = seen + 1 where id = (select id from note order by id desc limit 1 for update skip locked)`,
      );
    } else if (pick < 0.95) {
      await client.query(
        `delete from entry where id in (select id from entry where account / 1000 = ${worker} order by id limit 100 for update skip locked)`,
      );
    } else if (pick < 0.98) {
      await client.query('insert into elsewhere.log values (1)');
    } else {
      await client.query(
        `insert into entry (account, amount, who) select ${id}, g, 'large' from generate_series(1, 5000) g`,
      );
    }
  }
}

function isConnectionLoss(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (code !== undefined && /^(57P0[123]|08...|E[A-Z]+|53300)$/.test(code)) return true;
  return /terminat|timeout|ended|not queryable|closed/i.test(message ?? '');
}
