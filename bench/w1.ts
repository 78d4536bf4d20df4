// W1: how fast a backlog is drained from a PostgreSQL slot.
import { consumerCommand } from './lib/consumers.ts';
import { debeziumCommand } from './lib/debezium.ts';
import { type Drain, withDrains } from './lib/drain.ts';
import { type Measured, median } from './lib/measure.ts';
import { type BenchServer, findRecvlogical, startBenchServer } from './lib/postgres.ts';
import { saveResult } from './lib/report.ts';

export interface BenchOptions {
  readonly rounds: number;
  readonly changes: number;
}

interface Consumer {
  readonly name: string;
  command(endLsn: string, slot: string): readonly string[];
  /** Whether it writes records that can be counted. */
  readonly writes: boolean;
}

export async function runW1(options: BenchOptions): Promise<void> {
  const { consumers, absent } = availableConsumers();
  const server = await startBenchServer();
  try {
    const endLsn = await prepare(server, options.changes);
    const runs = new Map<string, Measured[]>(consumers.map((consumer) => [consumer.name, []]));
    await withDrains(async (drain) => {
      for (let round = 0; round < options.rounds; round++) {
        for (const consumer of consumers) {
          const run = await onSlot(server, consumer, endLsn, options.changes, drain);
          runs.get(consumer.name)!.push(run);
          console.error(
            `round ${round + 1}: ${consumer.name} ${Math.round(options.changes / run.wallSeconds)} changes/s, ${run.cpuSeconds.toFixed(2)} CPU s, ${Math.round(run.peakRssMiB)} MiB`,
          );
        }
      }
    });
    report(server, options, runs, absent);
  } finally {
    await server.close();
  }
}

function availableConsumers(): { consumers: Consumer[]; absent: string[] } {
  const absent: string[] = [];
  const consumers: Consumer[] = [];
  const recvlogical = findRecvlogical();
  if (recvlogical === null) absent.push('pg_recvlogical is not on this machine.');
  else {
    consumers.push({
      name: 'pg_recvlogical (text, thrown away)',
      writes: false,
      command: (end, slot) => [
        recvlogical,
        '--start',
        '-S',
        slot,
        '-d',
        'perf',
        '-o',
        'proto_version=1',
        '-o',
        'publication_names=bench',
        '-o',
        'binary=false',
        '-E',
        end,
        '-F',
        '0',
        '--no-loop',
        '-f',
        '/dev/null',
      ],
    });
  }
  consumers.push({
    name: 'changetrail (actor, record, ledger, fsync, tree)',
    writes: true,
    command: () => consumerCommand('changetrail'),
  });
  consumers.push({
    name: 'pg-logical-replication as documented',
    writes: true,
    command: () => consumerCommand('plain-node'),
  });
  const debezium = debeziumCommand('postgres');
  if (typeof debezium === 'string') absent.push(debezium);
  else consumers.push({ name: 'Debezium embedded engine', writes: true, command: () => debezium });
  return { consumers, absent };
}

/** Makes the slot, then the backlog behind it; returns where the backlog ends. */
async function prepare(server: BenchServer, changes: number): Promise<string> {
  await server.query(`select pg_create_logical_replication_slot('base', 'pgoutput')`);
  await server.query(`call gen(1, ${changes / 10}, 1)`);
  await server.query('checkpoint');
  const [row] = await server.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
  await server.query(`select pg_logical_emit_message(false, 'bench', 'end')`);
  await server.query('select pg_switch_wal()');
  return row!.lsn;
}

async function onSlot(
  server: BenchServer,
  consumer: Consumer,
  endLsn: string,
  changes: number,
  drain: (run: Drain) => Promise<Measured>,
): Promise<Measured> {
  const slot = 'drain';
  await server.query(`select pg_copy_logical_replication_slot('base', '${slot}', false, 'pgoutput')`);
  try {
    return await drain({
      name: consumer.name,
      command: consumer.command(endLsn, slot),
      environment: { ...server.environment(slot), END_LSN: endLsn },
      changes,
      writes: consumer.writes,
    });
  } finally {
    await dropSlot(server, slot);
  }
}

async function dropSlot(server: BenchServer, slot: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      await server.query(`select pg_drop_replication_slot('${slot}')`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function report(
  server: BenchServer,
  options: BenchOptions,
  runs: Map<string, Measured[]>,
  absent: readonly string[],
): void {
  const rate = (list: readonly Measured[]) => median(list.map((run) => options.changes / run.wallSeconds));
  const reference = [...runs].find(([name]) => name.startsWith('pg_recvlogical'));
  const base = reference === undefined ? null : rate(reference[1]);
  saveResult({
    workload: 'W1 PostgreSQL drain',
    about: `${options.changes.toLocaleString('en')} changes, 10 rows a transaction, REPLICA IDENTITY FULL, PostgreSQL ${server.version}, ${options.rounds} rounds. Wall time of the whole process, its start included.`,
    budget: '≥ 1.4 × pg_recvlogical, ≥ 5 × Debezium, ≤ 8 µs CPU a change, ≤ 150 MiB',
    columns: ['consumer', 'changes/s', '× pg_recvlogical', 'µs CPU a change', 'peak RSS MiB'],
    rows: [...runs].map(([name, list]) => [
      name,
      Math.round(rate(list)).toLocaleString('en'),
      base === null ? '–' : (rate(list) / base).toFixed(2),
      ((median(list.map((run) => run.cpuSeconds)) / options.changes) * 1e6).toFixed(1),
      Math.round(median(list.map((run) => run.peakRssMiB))),
    ]),
    limit: 'the walsender: it decodes on one core; a consumer that reads in large pieces leaves it more of that core.',
    absent,
  });
}
