import snappy from 'snappyjs';
import { describe, expect, test } from 'vitest';
import { classifyPush, createLokiSink, lokiOptions } from '../../src/sinks/loki/sink.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { decodePush } from '../support/loki-push.ts';
import { memoryLog } from '../support/memory-log.ts';
import { startVictoria } from '../support/victorialogs.ts';

const TOKEN = 'a-loki-token';
const DAY_NS = 86_400_000_000_000n;

function sinkTo(port: number, more: object = {}, path = '') {
  const options = {
    type: 'loki',
    url: `http://127.0.0.1:${port}${path}`,
    token: TOKEN,
    timeout_ms: 1000,
    batch_wait_ms: 5,
  };
  return createLokiSink(lokiOptions.parse({ ...options, ...more }), {
    name: 'loki',
    log: memoryLog().log,
    now: Date.now,
  });
}

interface Entry {
  readonly labels: Readonly<Record<string, string>>;
  readonly nanos: bigint;
  readonly line: string;
  readonly metadata: Readonly<Record<string, string>>;
}

function entriesIn({ headers, body }: ReceivedRequest): Entry[] {
  if (headers['content-type'] === 'application/x-protobuf') return decodePush(snappy.uncompress(body));
  const { streams } = JSON.parse(body.toString('utf8')) as {
    streams: { stream: Record<string, string>; values: [string, string, Record<string, string>][] }[];
  };
  return streams.flatMap(({ stream, values }) =>
    values.map(([nanos, line, metadata]) => ({ labels: stream, nanos: BigInt(nanos), line, metadata })),
  );
}

/** Loki's documented behaviour: a label at least, 256 KB a line, a week back; the rest of a refused request is kept. */
class FakeLoki {
  readonly entries: Entry[] = [];
  readonly #known = new Set<string>();

  handle(request: ReceivedRequest): Reply {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return { status: 401 };
    if (request.url !== '/loki/api/v1/push') return { status: 404 };
    const got = entriesIn(request);
    if (got.some(({ labels }) => Object.keys(labels).length === 0 || Object.keys(labels).length > 15))
      return { status: 400 };
    if (got.some(({ line }) => Buffer.byteLength(line) > 262_144)) {
      return { status: 400, body: 'Max entry size 262144 bytes exceeded for stream' };
    }
    const oldest = BigInt(Date.now()) * 1_000_000n - 7n * DAY_NS;
    const old = got.filter(({ nanos }) => nanos < oldest);
    const bad = got.filter(({ line }) => line.includes('"outcome":"unknown"'));
    for (const entry of got) if (!old.includes(entry) && !bad.includes(entry)) this.#keep(entry);
    if (old.length > 0) return { status: 400, body: 'entry for stream has timestamp too old' };
    return bad.length > 0 ? { status: 400, body: 'refused' } : { status: 204, body: '' };
  }

  /** The same time and text in a stream is kept once. */
  #keep(entry: Entry): void {
    const key = `${entry.nanos} ${entry.line}`;
    if (this.#known.has(key)) return;
    this.#known.add(key);
    this.entries.push(entry);
  }
}

const idOf = (line: string): string => (JSON.parse(line) as { id: string }).id;

async function startFake(encoding: 'json' | 'protobuf'): Promise<SinkReceiver> {
  const loki = new FakeLoki();
  const server = await HttpReceiver.start((request) => loki.handle(request));
  return {
    port: server.port,
    sink: (port) => sinkTo(port, { encoding }),
    ids: async () => loki.entries.map(({ line }) => idOf(line)),
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sinkTo(port, { encoding, token: 'wrong' }),
    poison: (record) => ({ ...record, outcome: 'unknown' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

for (const encoding of ['json', 'protobuf'] as const) {
  const about = { order: 'none', duplicates: 'kept' } as const;
  await sinkConformance({
    ...about,
    name: `loki ${encoding}`,
    http: true,
    duplicates: 'dropped',
    backlog: 5000,
    start: () => startFake(encoding),
  });
  await sinkConformance({
    ...about,
    name: `loki ${encoding} to VictoriaLogs`,
    http: true,
    heavy: true,
    needs: 'victorialogs',
    start: () => startVictoria((port) => sinkTo(port, { encoding }, '/insert')),
  });
}

const line = (id: string, time: string) =>
  `{"v":1,"index":7,"id":"${id}","kind":"change","time":"${time}","captured":"${time}","source":{"name":"shop"},"action":"update","object":{"schema":"public","table":"users","key":{"id":1}},"actor":{"id":"a\\"b","assurance":"claimed"},"outcome":"success"}`;

describe.each(['json', 'protobuf'] as const)('an entry in %s', (encoding) => {
  test('has few labels, the exact time, and the rest as structured metadata', async () => {
    const loki = new FakeLoki();
    await using server = await HttpReceiver.start((request) => loki.handle(request));
    const time = new Date(Date.now() - 1000).toISOString().replace('Z', '456Z');
    const sink = sinkTo(server.port, { encoding, labels: { env: 'a"b\\c' } });
    expect(await sink.deliver(batchOf([line('x', time)]), AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
    await sink.close();
    expect(loki.entries).toEqual([
      {
        labels: { env: 'a"b\\c', source: 'shop', kind: 'change', action: 'update' },
        nanos: BigInt(Date.parse(`${time.slice(0, 23)}Z`)) * 1_000_000n + 456_000n,
        line: line('x', time),
        metadata: {
          id: 'x',
          index: '7',
          object: 'public.users',
          actor: 'a"b',
          assurance: 'claimed',
          outcome: 'success',
        },
      },
    ]);
  });

  test('that is too old is found, alone, and sent under another time or given up', async () => {
    const loki = new FakeLoki();
    await using server = await HttpReceiver.start((request) => loki.handle(request));
    const old = '2020-01-01T00:00:00.000Z';
    const batch = batchOf([line('old', old)]);
    const strict = sinkTo(server.port, { encoding, too_old: 'dead_letter' });
    expect(await strict.deliver(batch, AbortSignal.timeout(5000))).toEqual({ outcome: 'rejected', reason: 'too_old' });
    const both = batchOf([line('young', new Date().toISOString()), line('old', old)]);
    const sink = sinkTo(server.port, { encoding });
    expect(await sink.deliver(both, AbortSignal.timeout(5000))).toEqual({ outcome: 'rejected', reason: 'too_old' });
    expect(await sink.deliver(batch, AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
    await Promise.all([strict.close(), sink.close()]);
    expect(loki.entries.map(({ line: text }) => idOf(text)).sort()).toEqual(['old', 'young']);
    expect(loki.entries.find(({ metadata }) => metadata['id'] === 'old')?.metadata['time']).toBe(old);
  });
});

describe('classifyPush', () => {
  test.each([
    [204, '', { outcome: 'accepted' }],
    [200, '', { outcome: 'accepted' }],
    [400, 'entry too far behind, oldest acceptable is', { outcome: 'rejected', reason: 'too_old' }],
    [400, 'Max entry size 262144 bytes exceeded', { outcome: 'too_large' }],
    [400, 'could not parse', { outcome: 'rejected', reason: 'http_400' }],
    [429, 'rate limit', { outcome: 'throttled', afterMs: null }],
    [500, '', { outcome: 'unavailable', reason: 'HTTP 500' }],
  ])('%i %j is %j', (status, body, expected) => {
    expect(classifyPush({ status, headers: {}, body: Buffer.from(body) }, 0)).toEqual(expected);
  });
});
