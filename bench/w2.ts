// W2: how fast a backlog is drained from a MongoDB change stream.
import { consumerCommand } from './lib/consumers.ts';
import { debeziumCommand } from './lib/debezium.ts';
import { withDrains } from './lib/drain.ts';
import { goReaderCommand } from './lib/go-mongo.ts';
import { type Measured, median } from './lib/measure.ts';
import { prepareMongo } from './lib/mongo.ts';
import { saveResult } from './lib/report.ts';

export interface W2Options {
  readonly rounds: number;
  readonly changes: number;
}

export interface W2Row {
  readonly consumer: string;
  readonly changesPerSecond: number;
  /** Of the raw Go reader; null where that could not be built. */
  readonly ratio: number | null;
  readonly cpuSeconds: number;
  readonly peakRssMiB: number;
}

interface Consumer {
  readonly name: string;
  readonly command: readonly string[];
  /** Whether it writes records that can be counted. */
  readonly writes: boolean;
}

const REFERENCE = 'Go driver, raw bytes thrown away';

export async function runW2(options: W2Options): Promise<W2Row[]> {
  const { consumers, absent } = availableConsumers();
  console.error(`W2: writing ${options.changes} changes`);
  const { server, environment } = await prepareMongo(options.changes);
  try {
    const runs = new Map<string, Measured[]>(consumers.map((consumer) => [consumer.name, []]));
    await withDrains(async (drain) => {
      for (let round = 0; round < options.rounds; round++) {
        for (const consumer of consumers) {
          const run = await drain({ ...consumer, environment, changes: options.changes });
          runs.get(consumer.name)!.push(run);
          const rate = Math.round(options.changes / run.wallSeconds);
          console.error(
            `round ${round + 1}: ${consumer.name} ${rate} changes/s, ${run.cpuSeconds.toFixed(2)} CPU s, ${Math.round(run.peakRssMiB)} MiB`,
          );
        }
      }
    });
    const rows = rowsOf(runs, options.changes);
    report(server.version, options, rows, absent);
    return rows;
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

function availableConsumers(): { consumers: Consumer[]; absent: string[] } {
  const absent: string[] = [];
  const consumers: Consumer[] = [];
  const add = (name: string, command: readonly string[] | string, writes = true) => {
    if (typeof command === 'string') absent.push(command);
    else consumers.push({ name, command, writes });
  };
  add(REFERENCE, goReaderCommand(), false);
  add('changetrail (actor, record, ledger, fsync, tree)', consumerCommand('changetrail-mongo'));
  add('Node driver, watch() as documented', consumerCommand('plain-node-mongo'));
  add('Debezium embedded engine', debeziumCommand('mongo'));
  return { consumers, absent };
}

function rowsOf(runs: ReadonlyMap<string, readonly Measured[]>, changes: number): W2Row[] {
  const rate = (list: readonly Measured[]) => median(list.map((run) => changes / run.wallSeconds));
  const reference = runs.get(REFERENCE);
  const base = reference === undefined ? null : rate(reference);
  return [...runs].map(([consumer, list]) => ({
    consumer,
    changesPerSecond: rate(list),
    ratio: base === null ? null : rate(list) / base,
    cpuSeconds: median(list.map((run) => run.cpuSeconds)),
    peakRssMiB: median(list.map((run) => run.peakRssMiB)),
  }));
}

function report(version: string, options: W2Options, rows: readonly W2Row[], absent: readonly string[]): void {
  saveResult({
    workload: 'W2 MongoDB drain',
    about: `${options.changes.toLocaleString('en')} changes by a logged-in user, with pre- and post-images, MongoDB ${version}, ${options.rounds} rounds. Wall time of the whole process, its start included.`,
    budget: '≥ 0.65 × a raw Go reader, ≥ 5 × Debezium, ≤ 150 MiB',
    columns: ['consumer', 'changes/s', '× raw Go reader', 'µs CPU a change', 'peak RSS MiB'],
    rows: rows.map((row) => [
      row.consumer,
      Math.round(row.changesPerSecond).toLocaleString('en'),
      row.ratio === null ? '–' : row.ratio.toFixed(2),
      ((row.cpuSeconds / options.changes) * 1e6).toFixed(1),
      Math.round(row.peakRssMiB),
    ]),
    limit: 'mongod, which looks up the images and builds each event on one core.',
    absent,
  });
}
