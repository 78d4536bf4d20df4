import { describe, expect, test } from 'vitest';
import { NoAnswer } from '../../src/sinks/shared/http.ts';
import { ackIdOf, classifyHec } from '../../src/sinks/splunk-hec/answer.ts';
import { createSplunkHecSink, splunkHecOptions } from '../../src/sinks/splunk-hec/sink.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runTrial } from '../support/sink-trial.ts';
import { startVictoria } from '../support/victorialogs.ts';

const TOKEN = 'a-hec-token';

function sinkTo(port: number, more: object = {}) {
  const options = {
    type: 'splunk_hec',
    url: `http://127.0.0.1:${port}`,
    token: TOKEN,
    timeout_ms: 1000,
    batch_wait_ms: 5,
  };
  return createSplunkHecSink(splunkHecOptions.parse({ ...options, ...more }), {
    name: 'splunk',
    log: memoryLog().log,
    now: Date.now,
  });
}

const said = (status: number, code: number, more: object = {}): Reply => ({
  status,
  body: JSON.stringify({ text: 'as Splunk says', code, ...more }),
});

/**
 * Splunk's documented behaviour, since neither Splunk nor another server with indexer acknowledgement can be had: tokens,
 * channels, acknowledgements that come later than the 200 and are asked for, the first bad event named, 1 MB a request.
 */
class FakeSplunk {
  readonly ids: string[] = [];
  readonly #pending = new Map<number, string[]>();
  readonly #acknowledge: boolean;
  #nextAck = 0;
  /** Of every so many requests with a hundred events or more one is lost before it is written, as when an indexer dies. 0: never. */
  loseEach = 0;

  constructor(acknowledge: boolean) {
    this.#acknowledge = acknowledge;
  }

  handle(request: ReceivedRequest): Reply {
    if (request.headers.authorization !== `Splunk ${TOKEN}`) return said(403, 4);
    const channel = request.headers['x-splunk-request-channel'];
    if (this.#acknowledge && channel === undefined) return said(400, 10);
    if (request.url.startsWith('/services/collector/ack')) return this.#acks(request);
    if (request.url !== '/services/collector/event') return { status: 404 };
    if (request.body.length > 1_000_000) return { status: 413 };
    return this.#events(request.body.toString('utf8'));
  }

  #events(text: string): Reply {
    if (text === '') return said(400, 5);
    const events = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const bad = events.findIndex(({ event }) => event === undefined || event.outcome === 'unknown');
    const ids = events.map(({ event }) => event.id as string);
    // The events before a bad one are stored all the same.
    if (bad !== -1) {
      this.ids.push(...ids.slice(0, bad));
      return said(400, 6, { 'invalid-event-number': bad });
    }
    if (!this.#acknowledge) {
      this.ids.push(...ids);
      return said(200, 0);
    }
    const ackId = this.#nextAck++;
    if (this.loseEach === 0 || ids.length < 100 || ackId % this.loseEach !== 1) this.#pending.set(ackId, ids);
    return said(200, 0, { ackId });
  }

  #acks(request: ReceivedRequest): Reply {
    const { acks } = JSON.parse(request.body.toString('utf8')) as { acks: number[] };
    const answers = acks.map((id) => {
      const ids = this.#pending.get(id);
      if (ids !== undefined) this.ids.push(...ids);
      this.#pending.delete(id);
      return [id, ids !== undefined];
    });
    return { status: 200, body: JSON.stringify({ acks: Object.fromEntries(answers) }) };
  }
}

async function startFake(acknowledge: boolean): Promise<SinkReceiver> {
  const splunk = new FakeSplunk(acknowledge);
  if (acknowledge) splunk.loseEach = 7;
  const server = await HttpReceiver.start((request) => splunk.handle(request));
  const more = { acknowledge, acknowledge_timeout_ms: 400 };
  return {
    port: server.port,
    sink: (port) => sinkTo(port, more),
    ids: async () => [...splunk.ids],
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sinkTo(port, { ...more, token: 'wrong' }),
    poison: (record) => ({ ...record, outcome: 'unknown' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

await sinkConformance({
  name: 'splunk_hec',
  http: true,
  order: 'none',
  duplicates: 'kept',
  start: () => startFake(false),
});
await sinkConformance({
  name: 'splunk_hec with acknowledgement',
  http: true,
  order: 'none',
  duplicates: 'kept',
  start: () => startFake(true),
});
await sinkConformance({
  name: 'splunk_hec to VictoriaLogs',
  http: true,
  order: 'none',
  duplicates: 'kept',
  heavy: true,
  needs: 'victorialogs',
  start: () => startVictoria((port) => sinkTo(port)),
});

describe('classifyHec', () => {
  const answer = (status: number, body: object | string) => ({
    status,
    headers: {},
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
  });
  test.each([
    [200, { text: 'Success', code: 0 }, 'accepted'],
    [200, { text: 'Success' }, 'unavailable'],
    [200, '<html>', 'unavailable'],
    [201, { code: 0 }, 'accepted'],
    [400, { code: 6 }, 'rejected'],
    [400, { code: 7 }, 'unavailable'],
    [400, { code: 10 }, 'unavailable'],
    [400, { code: 14 }, 'unavailable'],
    [400, 'a proxy says no', 'unavailable'],
    [401, { code: 2 }, 'unavailable'],
    [403, { code: 4 }, 'unavailable'],
    [413, '', 'too_large'],
    [429, '', 'throttled'],
    [500, { code: 8 }, 'unavailable'],
    [503, { code: 9 }, 'unavailable'],
  ])('%i %j is %s', (status, body, outcome) => {
    expect(classifyHec(answer(status, body), 3, 0).outcome).toBe(outcome);
  });

  test('no answer is unavailable with the reason', () => {
    expect(classifyHec(new NoAnswer('ECONNREFUSED'), 3, 0)).toEqual({ outcome: 'unavailable', reason: 'ECONNREFUSED' });
  });

  test('a named bad event fails for good and the others are sent again', () => {
    expect(classifyHec(answer(400, { code: 12, 'invalid-event-number': 1 }), 3, 0)).toEqual({
      outcome: 'partial',
      failed: [
        { at: 0, retry: true, reason: 'hec_12' },
        { at: 1, retry: false, reason: 'hec_12' },
        { at: 2, retry: true, reason: 'hec_12' },
      ],
    });
    expect(classifyHec(answer(400, { code: 12, 'invalid-event-number': 9 }), 3, 0).outcome).toBe('rejected');
  });

  test('an acknowledgement id is a number', () => {
    expect(ackIdOf(answer(200, { code: 0, ackId: 0 }))).toBe(0);
    expect(ackIdOf(answer(200, { code: 0 }))).toBeNull();
    expect(ackIdOf(answer(200, { code: 0, ackId: '7' }))).toBeNull();
  });
});

test.each([true, false])('a check with acknowledge %s says how sure a delivery is', async (acknowledge) => {
  await using receiver = await startFake(acknowledge);
  const sink = receiver.sink(receiver.port);
  const { items } = await sink.check(AbortSignal.timeout(10_000));
  await sink.close();
  expect(items.map(({ level }) => level)).toEqual(acknowledge ? ['ok'] : ['ok', 'warning']);
});

test.each(['ecs', 'ocsf', 'debezium'] as const)('a full batch in %s fits into a request', async (format) => {
  const bodies: number[] = [];
  await using server = await HttpReceiver.start(({ body }) => {
    bodies.push(body.length);
    return said(200, 0);
  });
  await using trial = await runTrial();
  await trial.fill(3000);
  await trial.deliver(sinkTo(server.port, { format })).drain();
  expect(bodies.length).toBeGreaterThan(1);
  expect(Math.max(...bodies)).toBeLessThanOrEqual(1_000_000);
  // None was encoded in vain and halved.
  expect(trial.metrics.batches).toBe(bodies.length);
});

test('events carry the exact time, index, source and sourcetype', async () => {
  const bodies: string[] = [];
  await using server = await HttpReceiver.start(({ body }) => {
    bodies.push(body.toString('utf8'));
    return said(200, 0);
  });
  const sink = sinkTo(server.port, { index: 'audit', host: 'db-1' });
  const line =
    '{"v":1,"index":0,"id":"a","kind":"change","time":"2026-11-24T10:00:00.123456Z","context":{"n":12345678901234567890}}';
  expect(await sink.deliver(batchOf([line]), AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
  await sink.close();
  expect(bodies).toEqual([
    `{"time":1795514400.123456,"host":"db-1","index":"audit","source":"changetrail","sourcetype":"changetrail:record","event":${line}}\n`,
  ]);
});
