// How fast the ledger goes to receivers, and what a busy sink takes from capture.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { SINKS } from '../src/cli/registry.ts';
import { type OpenLedger, openLedger } from '../src/ledger/ledger.ts';
import { startDelivery } from '../src/pipeline/delivery/delivery.ts';
import { sinkMetrics } from '../src/pipeline/delivery/metrics.ts';
import type { DeliveryOptions } from '../src/pipeline/delivery/options.ts';
import { startSinkThread } from '../src/pipeline/delivery/thread.ts';
import { memoryLog } from '../test/support/memory-log.ts';
import { Receiver } from '../test/support/receivers.ts';
import { sampleRecord } from '../test/support/sink-ledger.ts';
import { saveResult } from './lib/report.ts';

export interface SinkBenchOptions {
  readonly rounds: number;
  readonly records: number;
}

export async function runSinks(options: SinkBenchOptions): Promise<void> {
  await benchThroughput(options);
  await benchCapture(options);
}

const REGISTRY = new URL('../src/cli/registry.ts', import.meta.url).href;

interface Target {
  readonly name: string;
  readonly type: string;
  readonly options: object;
}

async function benchThroughput({ rounds, records }: SinkBenchOptions): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'changetrail-bench-'));
  const ledger = openLedger(data);
  await append(ledger, records);
  const bytes = ledger.writer.durable.offset / records;
  await using victoria = await Receiver.start('victorialogs', { args: ['0', '0'] });
  await using kafka = await Receiver.start('kfake', { args: ['audit', '3'] });
  const logs = `http://127.0.0.1:${victoria.port}`;
  const swallow = new Worker(SWALLOW, { eval: true });
  const [port] = (await once(swallow, 'message')) as [number];
  const targets: Target[] = [
    { name: 'file, synced each batch', type: 'file', options: { path: join(data, 'out.ndjson') } },
    { name: 'file, not synced', type: 'file', options: { path: join(data, 'out2.ndjson'), fsync: false } },
    { name: 'HEC, as it stands', type: 'splunk_hec', options: { url: logs, token: 't' } },
    { name: 'HEC, ECS', type: 'splunk_hec', options: { url: logs, token: 't', format: 'ecs' } },
    { name: '_bulk, ECS', type: 'elasticsearch', options: { url: `http://127.0.0.1:${port}` } },
    { name: 'Loki, JSON', type: 'loki', options: { url: `${logs}/insert` } },
    { name: 'Kafka, acks=all', type: 'kafka', options: { brokers: [`127.0.0.1:${kafka.port}`], topic: 'audit' } },
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    for (const target of targets) {
      console.error(`bench: ${target.name}`);
      const seconds = await drain(ledger, data, target, `${round}-${targets.indexOf(target)}`);
      rates.set(target.name, [...(rates.get(target.name) ?? []), records / seconds]);
    }
  }
  await swallow.terminate();
  await ledger.close();
  rmSync(data, { recursive: true });
  saveResult({
    workload: 'Sinks',
    about: `A ledger of ${records} records, ${Math.round(bytes)} bytes each, delivered by each sink from the beginning. HEC and Loki go to VictoriaLogs, Kafka to kfake, \`_bulk\` to a server that only answers; with gzip, on the same machine.`,
    budget: 'none; the figure to keep is that of a busy capture, about 100,000 records a second to a file',
    columns: ['sink', 'records/s', 'MB/s'],
    rows: targets.map(({ name }) => {
      const rate = median(rates.get(name)!);
      return [name, Math.round(rate), Math.round((rate * bytes) / 1e6)];
    }),
    limit: 'the receivers share the two cores with the sink; in ECS the mapping of each record',
    absent: [
      'Fluent Bit and Vector: neither program is in a package registry (npm, PyPI, crates.io, Maven, Debian 12, Go modules)',
    ],
  });
}

/** Delivers everything through one sink in this thread; seconds. */
async function drain(ledger: OpenLedger, data: string, target: Target, run: string): Promise<number> {
  const entry = SINKS[target.type]!;
  const options = (await entry.options()).parse({ type: target.type, ...target.options }) as DeliveryOptions;
  const { log } = memoryLog();
  const metrics = sinkMetrics();
  const started = performance.now();
  const delivery = startDelivery({
    name: 'bench',
    sink: await entry.create(options, { name: 'bench', log, now: Date.now }),
    reader: ledger.reader,
    cursorPath: join(data, 'cursors', `${run}.json`),
    deadLetterPath: join(data, `${run}.dead`),
    options,
    log,
    signal: new AbortController().signal,
    control: () => undefined,
    metrics,
  });
  await delivery.drain();
  const seconds = (performance.now() - started) / 1000;
  if (metrics.deadLetters > 0) throw new RangeError(`${target.name} refused ${metrics.deadLetters} records`);
  return seconds;
}

/** A receiver in a thread of its own that reads requests and throws them away: of `_bulk` and of a collector. */
const SWALLOW = `
const http = require('node:http');
const zlib = require('node:zlib');
const { parentPort } = require('node:worker_threads');
const lines = (bytes) => { let n = 0; for (const byte of bytes) if (byte === 10) n++; return n; };
const bulk = (body) => '{"errors":false,"items":[' + Array(lines(zlib.gunzipSync(body)) / 2).fill('{"create":{"status":201}}').join() + ']}';
const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => response.end(request.url.endsWith('/_bulk') ? bulk(Buffer.concat(chunks)) : '{"text":"Success","code":0}'));
});
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

async function benchCapture({ rounds, records }: SinkBenchOptions): Promise<void> {
  const swallow = new Worker(SWALLOW, { eval: true });
  const [port] = (await once(swallow, 'message')) as [number];
  const hec = { type: 'splunk_hec', token: 't', format: 'ecs' };
  const cases: readonly (readonly [string, object | null])[] = [
    ['no sink', null],
    ['a sink that maps to ECS and compresses', { ...hec, url: `http://127.0.0.1:${port}` }],
    ['a sink whose receiver is down', { ...hec, url: 'http://127.0.0.1:9' }],
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, options] of cases) rates.set(name, [...(rates.get(name) ?? []), await capture(records, options)]);
  }
  await swallow.terminate();
  const alone = median(rates.get('no sink')!);
  saveResult({
    workload: 'Capture beside a sink',
    about: `${records} records appended to the ledger as fast as it takes them, with a sink in a thread of its own beside.`,
    budget: 'capture at most 10 % slower',
    columns: ['beside', 'records/s appended', 'of alone'],
    rows: cases.map(([name]) => {
      const rate = median(rates.get(name)!);
      return [name, Math.round(rate), `${Math.round((rate / alone) * 100)} %`];
    }),
    limit: 'the disk, and two cores for the capture, the sink and its receiver',
  });
}

/** Appends records as fast as the ledger takes them, beside a sink; records a second. */
async function capture(records: number, options: object | null): Promise<number> {
  const data = mkdtempSync(join(tmpdir(), 'changetrail-bench-'));
  const ledger = openLedger(data);
  const abort = new AbortController();
  let sink: ReturnType<typeof startSinkThread> | null = null;
  if (options !== null) {
    sink = startSinkThread({
      name: 'bench',
      type: 'splunk_hec',
      options: (await SINKS['splunk_hec']!.options()).parse(options),
      registry: REGISTRY,
      segments: ledger.layout.segments,
      cursorPath: join(ledger.layout.cursors, 'bench.json'),
      deadLetterPath: join(data, 'dead'),
      writer: ledger.writer,
      log: memoryLog().log,
      signal: abort.signal,
      control: () => undefined,
    });
    // The thread is at work before the clock runs.
    await append(ledger, 100);
    while (sink.status().state === 'starting') await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const started = performance.now();
  await append(ledger, records);
  const rate = records / ((performance.now() - started) / 1000);
  abort.abort();
  await sink?.done;
  await ledger.close();
  rmSync(data, { recursive: true });
  return rate;
}

/** Each record in two pieces: what stands before its own part of the id, and what stands behind. */
const SAMPLES = Array.from({ length: 1000 }, (_, n): readonly [Buffer, Buffer] => {
  const { id, ...rest } = sampleRecord(n);
  return [Buffer.from(`,"id":${JSON.stringify(id).slice(0, -1)}`), Buffer.from(JSON.stringify(rest).slice(1))];
});

/** Appends records with ids of their own and waits until they are durable. */
async function append({ writer }: OpenLedger, records: number): Promise<void> {
  for (let n = 0; n < records; n++) {
    const [head, rest] = SAMPLES[n % SAMPLES.length]!;
    const out = writer.begin();
    out.bytes(head);
    out.ascii(`:${writer.next}",`);
    out.bytes(rest);
    writer.end();
    if (writer.full) await writer.drained();
    else if (n % 5000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await writer.flushed();
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
