// How fast the ledger goes to receivers, and what a busy sink takes from capture.
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Consumer } from '@platformatic/kafka';
import { SINKS } from '../src/cli/registry.ts';
import { type OpenLedger, openLedger } from '../src/ledger/ledger.ts';
import { startDelivery } from '../src/pipeline/delivery/delivery.ts';
import { sinkMetrics } from '../src/pipeline/delivery/metrics.ts';
import type { DeliveryOptions } from '../src/pipeline/delivery/options.ts';
import { startSinkThread } from '../src/pipeline/delivery/thread.ts';
import { memoryLog } from '../test/support/memory-log.ts';
import { Receiver } from '../test/support/receivers.ts';
import { sampleRecord } from '../test/support/sink-ledger.ts';
import { median, touchMemory } from './lib/measure.ts';
import { saveResult } from './lib/report.ts';
import { drainByRsyslog, type RsyslogTarget, rsyslogHome } from './lib/rsyslog.ts';

export interface SinkBenchOptions {
  readonly rounds: number;
  readonly records: number;
}

const REGISTRY = new URL('../src/cli/registry.ts', import.meta.url).href;

/** One row: a sink, or rsyslog doing the same. Seconds to send everything. */
interface Row {
  readonly name: string;
  drain(run: string): Promise<number>;
}

/** How fast each sink delivers a ledger. */
export async function runSinks({ rounds, records }: SinkBenchOptions): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'changetrail-bench-'));
  const ledger = openLedger(data);
  await append(ledger, records);
  const bytes = ledger.writer.durable.offset / records;
  await using victoria = await Receiver.start('victorialogs', { args: ['0', '0'] });
  await using kafka = await Receiver.start('kfake', { args: ['audit', '3'] });
  await using swallow = await Swallow.start();
  const ports = { victoria: victoria.port, kafka: kafka.port, swallow: swallow.port };
  const home = rsyslogHome();
  const rows = [
    ...sinkRows(ledger, data, ports),
    ...(typeof home === 'string' ? rsyslogRows(home, ledger, data, records, ports, swallow) : []),
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    for (const row of rows) {
      const seconds = await row.drain(`${round}-${rows.indexOf(row)}`);
      console.error(`bench: ${row.name}: ${Math.round(records / seconds)} records/s`);
      rates.set(row.name, [...(rates.get(row.name) ?? []), records / seconds]);
    }
  }
  await ledger.close();
  rmSync(data, { recursive: true });
  saveResult({
    workload: 'Sinks',
    about: `A ledger of ${records} records, ${Math.round(bytes)} bytes each, delivered by each sink from the beginning. HEC and Loki go to VictoriaLogs, Kafka to kfake, \`_bulk\` to a server that only answers; with gzip (Kafka: zstd), on the same machine. rsyslog tails the same segments and sends the lines as they stand, uncompressed, without ids and without a cursor that waits for the receiver.`,
    budget: 'none; the figure to keep is that of a busy capture, about 100,000 records a second to a file',
    columns: ['sink', 'records/s', 'MB/s'],
    rows: rows.map(({ name }) => {
      const rate = median(rates.get(name)!);
      return [name, Math.round(rate), Math.round((rate * bytes) / 1e6)];
    }),
    limit: 'the receivers share the two cores with the sink; in ECS the mapping of each record',
    absent: [
      'Fluent Bit and Vector: neither program is in a package registry (npm, PyPI, crates.io, Maven, Debian 12, Go modules)',
      ...(typeof home === 'string' ? [] : [home.absent]),
    ],
  });
}

interface Ports {
  readonly victoria: number;
  readonly kafka: number;
  readonly swallow: number;
}

function sinkRows(ledger: OpenLedger, data: string, { victoria, kafka, swallow }: Ports): Row[] {
  const logs = `http://127.0.0.1:${victoria}`;
  const bulk = `http://127.0.0.1:${swallow}`;
  const row = (name: string, type: string, options: object): Row => ({
    name,
    drain: (run) => drain(ledger, data, { name, type, options }, run),
  });
  return [
    row('file, synced each batch', 'file', { path: join(data, 'out.ndjson') }),
    row('file, not synced', 'file', { path: join(data, 'out2.ndjson'), fsync: false }),
    row('HEC, as it stands', 'splunk_hec', { url: logs, token: 't' }),
    row('HEC, ECS', 'splunk_hec', { url: logs, token: 't', format: 'ecs' }),
    row('_bulk, as it stands', 'elasticsearch', { url: bulk, format: 'native' }),
    row('_bulk, ECS', 'elasticsearch', { url: bulk }),
    row('Loki, JSON', 'loki', { url: `${logs}/insert` }),
    row('Kafka, acks=all', 'kafka', { brokers: [`127.0.0.1:${kafka}`], topic: 'audit' }),
  ];
}

function rsyslogRows(
  home: string,
  ledger: OpenLedger,
  data: string,
  records: number,
  { kafka, swallow }: Ports,
  server: Swallow,
): Row[] {
  const row = (name: string, target: RsyslogTarget): Row => ({
    name,
    async drain() {
      const work = mkdtempSync(join(data, 'rsyslog-'));
      return drainByRsyslog(home, ledger.layout.segments, work, target, records);
    },
  });
  const out = join(data, 'rsyslog.ndjson');
  const { segments } = ledger.layout;
  const total = () => readdirSync(segments).reduce((sum, name) => sum + statSync(join(segments, name)).size, 0);
  return [
    row('rsyslog: file, not synced', {
      module: null,
      action: `action(type="omfile" file="${out}" template="text" ioBufferSize="1m" flushOnTXEnd="on")`,
      // Whole files only: the size is compared, not lines counted.
      arrived: async () => (statSync(out, { throwIfNoEntry: false })?.size === total() ? records : 0),
    }),
    row('rsyslog: _bulk, as it stands', {
      module: 'omelasticsearch',
      action: `action(type="omelasticsearch" server="127.0.0.1" serverport="${swallow}" searchType="" searchIndex="audit" bulkmode="on" maxbytes="4m" template="line" action.resumeRetryCount="-1")`,
      arrived: () => server.documents(),
    }),
    row('rsyslog: Kafka, acks=all', {
      module: 'omkafka',
      action: `action(type="omkafka" broker=["127.0.0.1:${kafka}"] topic="audit" partitions.auto="on" template="line" confParam=["acks=all","compression.codec=zstd"] action.resumeRetryCount="-1")`,
      arrived: () => messagesIn(kafka, 'audit'),
    }),
  ];
}

/** Messages a topic holds in all its partitions. */
async function messagesIn(port: number, topic: string): Promise<number> {
  const consumer = new Consumer({ groupId: 'bench', clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${port}`] });
  try {
    const ends = await consumer.listOffsets({ topics: [topic] });
    return Number((ends.get(topic) ?? []).reduce((sum, end) => sum + end, 0n));
  } finally {
    await consumer.close(true);
  }
}

interface Target {
  readonly name: string;
  readonly type: string;
  readonly options: object;
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
class Swallow implements AsyncDisposable {
  readonly port: number;
  readonly #worker: Worker;

  private constructor(worker: Worker, port: number) {
    this.#worker = worker;
    this.port = port;
  }

  static async start(): Promise<Swallow> {
    const worker = new Worker(SWALLOW, { eval: true });
    const [port] = (await once(worker, 'message')) as [number];
    return new Swallow(worker, port);
  }

  /** Documents that `_bulk` has taken so far. */
  async documents(): Promise<number> {
    this.#worker.postMessage('count');
    const [count] = (await once(this.#worker, 'message')) as [number];
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Under `/slow` an answer takes five seconds. A receiver is another machine's work: here it takes what is left of the cores. */
const SWALLOW = `
const http = require('node:http');
require('node:os').setPriority(19);
const zlib = require('node:zlib');
const { parentPort } = require('node:worker_threads');
let documents = 0;
const lines = (bytes) => { let n = 0; for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) n++; return n; };
const bulk = (body) => {
  const count = lines(body) / 2;
  documents += count;
  return '{"errors":false,"items":[' + Array(count).fill('{"create":{"status":201}}').join() + ']}';
};
const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const raw = Buffer.concat(chunks);
    const body = () => request.headers['content-encoding'] === 'gzip' ? zlib.gunzipSync(raw) : raw;
    const answer = request.url.includes('_bulk') ? bulk(body()) : '{"text":"Success","code":0}';
    setTimeout(() => response.end(answer), request.url.startsWith('/slow') ? 5000 : 0);
  });
});
parentPort.on('message', () => parentPort.postMessage(documents));
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

/** Fewer are appended in a moment that says more about the disk than about the sink. */
const CAPTURED_RECORDS = 1_000_000;
const CAPTURE_ROUNDS = 3;

/** How much a sink slows capture: the ledger's writer with each kind of receiver beside it. */
export async function runBeside({ rounds: wanted }: Pick<SinkBenchOptions, 'rounds'>): Promise<void> {
  const records = CAPTURED_RECORDS;
  const rounds = Math.max(wanted, CAPTURE_ROUNDS);
  await using swallow = await Swallow.start();
  const { port } = swallow;
  const hec = { type: 'splunk_hec', token: 't', format: 'ecs' };
  const cases: readonly (readonly [string, object | null])[] = [
    ['no sink', null],
    ['a sink that maps to ECS and compresses', { ...hec, url: `http://127.0.0.1:${port}` }],
    ['a sink whose receiver takes 5 s to answer', { ...hec, url: `http://127.0.0.1:${port}/slow` }],
    ['a sink whose receiver is down', { ...hec, url: 'http://127.0.0.1:9' }],
  ];
  const rates = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, options] of cases) {
      const rate = await capture(records, options);
      console.error(`bench: capture beside ${name}: ${Math.round(rate)} records/s`);
      rates.set(name, [...(rates.get(name) ?? []), rate]);
    }
  }
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
  touchMemory(data);
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
