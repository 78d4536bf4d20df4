// The server and the data of the PostgreSQL workloads: 300,000 changes of a table of eight columns, ten rows a transaction,
// half inserts, two fifths updates, a tenth deletes, REPLICA IDENTITY FULL.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { providePostgres } from '../../test/support/provide.ts';

const LOAD_SQL = `
create table orders (
  id bigint primary key, customer text not null, note text, attrs jsonb not null, amount numeric(12,2) not null,
  paid boolean not null, ref uuid not null, updated_at timestamptz not null
);
alter table orders replica identity full;
create publication bench for table orders;
create function mk(i bigint) returns orders language sql volatile as $$
  select (i, 'customer-' || md5(i::text),
    case i % 20 when 0 then null when 1 then E'say "hi"\\nback\\\\slash \\t é 日本 😀' else 'plain note number ' || i end,
    jsonb_build_object('sku', md5((i*7)::text), 'qty', i % 50, 'tags', jsonb_build_array('a','b', md5(i::text)),
      'ship', jsonb_build_object('city', 'Zürich', 'zip', 10000 + i % 90000, 'gift', i % 2 = 0), 'ua', left(md5((i*3)::text),24)),
    ((i * 7919) % 1000000)::numeric / 100, i % 3 = 0, md5((i*11)::text)::uuid,
    timestamptz '2025-01-01 00:00:00+00' + (i || ' milliseconds')::interval * 1.337)::orders $$;
create procedure gen(t0 int, n_blocks int, per int) language plpgsql as $$
declare p bigint;
begin
  for t in t0 .. t0 + n_blocks - 1 loop
    p := 5 * (t - 1)::bigint;
    for k in 1..5 loop
      insert into orders select (mk(5 * t + k)).*;
      if k = 3 then delete from orders where id = p + 3;
      else update orders set amount = amount + 1.25, paid = not paid, updated_at = updated_at + interval '1 hour' where id = p + k; end if;
    end loop;
    if (t - t0 + 1) % per = 0 then commit; end if;
  end loop;
  commit;
end $$;
insert into orders select (mk(k)).* from generate_series(1, 5) k`;

export interface BenchServer {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly version: string;
  query<Row>(sql: string): Promise<Row[]>;
  /** Environment of a consumer, as libpq and the harness of the peers name things. */
  environment(slot: string): Record<string, string>;
  close(): Promise<void>;
}

/** A server that does nothing else while it is measured. PostgreSQL 15 where the machine has it, because pg_recvlogical comes with it. */
export async function startBenchServer(): Promise<BenchServer> {
  const major = existsSync('/usr/lib/postgresql/15/bin/postgres') ? 15 : 18;
  const server = await providePostgres({
    major,
    fresh: true,
    settings: {
      shared_buffers: '512MB',
      max_wal_size: '8GB',
      checkpoint_timeout: '1h',
      autovacuum: 'off',
      wal_sender_timeout: '5min',
      fsync: 'on',
      synchronous_commit: 'off',
    },
  });
  const database = await server.createDatabase('perf');
  const client = new pg.Client({ connectionString: database.url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(LOAD_SQL);
  const { host, port } = server;
  const user = new URL(database.url).username;
  return {
    url: database.url,
    host,
    port,
    version: server.version,
    query: async (sql) => (await client.query(sql)).rows,
    environment: (slot) => ({
      PGHOST: host,
      PGPORT: String(port),
      PGUSER: user,
      PGDATABASE: 'perf',
      SLOT: slot,
      PUBLICATION: 'bench',
    }),
    async close() {
      await client.end();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The server's own client, or null where the machine has none. */
export function findRecvlogical(): string | null {
  const candidates: string[] = [];
  try {
    candidates.push(
      execFileSync('pg_config', ['--bindir'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim(),
    );
  } catch {
    // No pg_config here.
  }
  if (existsSync('/usr/lib/postgresql'))
    candidates.push(...readdirSync('/usr/lib/postgresql').map((major) => `/usr/lib/postgresql/${major}/bin`));
  return candidates.map((directory) => join(directory, 'pg_recvlogical')).find(existsSync) ?? null;
}
