// W3: the time from a commit's acknowledgement to the record standing in the file, seen from outside.
import { spawn } from 'node:child_process';
import fs, { mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { consumerCommand } from './lib/consumers.ts';
import { debeziumCommand } from './lib/debezium.ts';
import { median, processUsage } from './lib/measure.ts';
import { type BenchServer, startBenchServer } from './lib/postgres.ts';
import { saveResult } from './lib/report.ts';

export interface LatencyOptions {
  readonly rounds: number;
  /** Transactions a second. */
  readonly rate: number;
  readonly seconds: number;
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly cpuPercent: number;
  readonly peakRssMiB: number;
}

const INSERT = 'insert into orders select (mk($1)).*';

export async function runW3(options: LatencyOptions): Promise<void> {
  const absent: string[] = [];
  const consumers: [string, readonly string[]][] = [
    ['changetrail (durable: written and synced)', consumerCommand('changetrail')],
    ['pg-logical-replication as documented (not synced)', consumerCommand('plain-node')],
  ];
  const debezium = debeziumCommand('postgres');
  if (typeof debezium === 'string') absent.push(debezium);
  else consumers.push(['Debezium embedded engine (not synced)', debezium]);
  const server = await startBenchServer();
  const directory = mkdtempSync(join(tmpdir(), 'changetrail-w3-'));
  const runs = new Map<string, Latency[]>(consumers.map(([name]) => [name, []]));
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const [name, command] of consumers) {
        const run = await measureLatency(server, command, options, directory);
        runs.get(name)!.push(run);
        console.error(`round ${round + 1}: ${name} p50 ${run.p50.toFixed(1)} ms, p99 ${run.p99.toFixed(1)} ms`);
      }
    }
  } finally {
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  }
  report(server, options, runs, absent);
}

async function measureLatency(
  server: BenchServer,
  command: readonly string[],
  options: LatencyOptions,
  directory: string,
): Promise<Latency> {
  const slot = 'latency';
  const out = join(directory, `${Date.now()}.ndjson`);
  await server.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
  const log = openSync(join(directory, 'log'), 'w');
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...server.environment(slot), EXPECTED: '1000000000', OUT: out, BENCH_DATA: directory },
  });
  const exit = new Promise((resolve) => child.once('exit', resolve));
  // The server of the drains acknowledges commits before they are on its disk; what is not there is not sent either.
  const pool = new pg.Pool({ connectionString: server.url, max: 16, options: '-c synchronous_commit=on' });
  const tail = new Tail(out);
  try {
    const [row] = await server.query<{ id: string }>('select coalesce(max(id), 0) + 1000000 as id from orders');
    return await drive(pool, tail, Number(row!.id), options, child.pid!);
  } finally {
    tail.close();
    child.kill('SIGKILL');
    await exit;
    await pool.end();
    for (let left = 100; left > 0; left--) {
      const dropped = await server.query(`select pg_drop_replication_slot('${slot}')`).then(
        () => true,
        () => false,
      );
      if (dropped) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    rmSync(out, { force: true });
  }
}

async function drive(
  pool: pg.Pool,
  tail: Tail,
  firstId: number,
  options: LatencyOptions,
  pid: number,
): Promise<Latency> {
  const acknowledged = new Map<number, number>();
  let id = firstId;
  const commit = async (n: number) => {
    await pool.query({ name: 'w3', text: INSERT, values: [n] });
    acknowledged.set(n, performance.now());
  };
  const deadline = performance.now() + 60_000;
  while (tail.seen.size === 0) {
    if (performance.now() > deadline) throw new Error('the consumer wrote nothing within a minute');
    await commit(id++);
    await pause(250);
  }
  for (let i = 0; i < 200; i++) {
    await commit(id++);
    await pause(5);
  }
  await pause(1000);
  const before = processUsage(pid);
  const start = performance.now();
  const first = id;
  const jobs: Promise<void>[] = [];
  for (let sent = 0; sent < options.rate * options.seconds; ) {
    const due = Math.min(
      options.rate * options.seconds,
      Math.floor(((performance.now() - start) / 1000) * options.rate),
    );
    for (; sent < due; sent++) jobs.push(commit(id++));
    await pause(1);
  }
  await Promise.all(jobs);
  const seconds = (performance.now() - start) / 1000;
  const after = processUsage(pid);
  for (const limit = performance.now() + 10_000; performance.now() < limit && !tail.hasAll(first, id); )
    await pause(20);
  if (!tail.hasAll(first, id)) throw new Error('records are missing');
  const waits: number[] = [];
  for (let n = first; n < id; n++) waits.push(Math.max(0, tail.seen.get(n)! - acknowledged.get(n)!));
  waits.sort((a, b) => a - b);
  const at = (share: number) => waits[Math.min(waits.length - 1, Math.floor(waits.length * share))]!;
  return {
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    cpuPercent: (((after?.cpuSeconds ?? 0) - (before?.cpuSeconds ?? 0)) / seconds) * 100,
    peakRssMiB: after?.peakRssMiB ?? 0,
  };
}

/** Reads the output file every millisecond and notes when each id was first there. */
class Tail {
  readonly seen = new Map<number, number>();
  readonly #path: string;
  readonly #buffer = Buffer.allocUnsafe(1 << 20);
  readonly #timer: NodeJS.Timeout;
  #fd: number | null = null;
  #position = 0;
  #rest = '';

  constructor(path: string) {
    this.#path = path;
    this.#timer = setInterval(() => this.#read(), 1);
  }

  hasAll(first: number, end: number): boolean {
    for (let id = first; id < end; id++) if (!this.seen.has(id)) return false;
    return true;
  }

  close(): void {
    clearInterval(this.#timer);
    if (this.#fd !== null) fs.closeSync(this.#fd);
  }

  #read(): void {
    if (this.#fd === null) {
      if (!fs.existsSync(this.#path)) return;
      this.#fd = openSync(this.#path, 'r');
    }
    for (;;) {
      const got = readSync(this.#fd, this.#buffer, 0, this.#buffer.length, this.#position);
      if (got === 0) return;
      this.#position += got;
      const now = performance.now();
      const lines = (this.#rest + this.#buffer.toString('latin1', 0, got)).split('\n');
      this.#rest = lines.pop()!;
      for (const line of lines) {
        const match = /"after"\s*:\s*\{"id"\s*:\s*"?(\d+)/.exec(line);
        if (match !== null && !this.seen.has(Number(match[1]))) this.seen.set(Number(match[1]), now);
      }
    }
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function report(
  server: BenchServer,
  options: LatencyOptions,
  runs: Map<string, Latency[]>,
  absent: readonly string[],
): void {
  const of = (list: readonly Latency[], key: keyof Latency) => median(list.map((run) => run[key]));
  saveResult({
    workload: 'W3 latency',
    about: `${options.rate} single-insert transactions a second for ${options.seconds} s, PostgreSQL ${server.version}, ${options.rounds} rounds. From the commit’s acknowledgement to the record in the file, read from outside every millisecond.`,
    budget: 'p50 ≤ 4 ms, p99 ≤ 12 ms, durable',
    columns: ['consumer', 'p50 ms', 'p99 ms', 'max ms', 'CPU %', 'peak RSS MiB'],
    rows: [...runs].map(([name, list]) => [
      name,
      of(list, 'p50').toFixed(1),
      of(list, 'p99').toFixed(1),
      of(list, 'max').toFixed(1),
      of(list, 'cpuPercent').toFixed(1),
      Math.round(of(list, 'peakRssMiB')),
    ]),
    limit: 'the wait for a group of records (2 ms) and the disk’s sync.',
    absent,
  });
}
