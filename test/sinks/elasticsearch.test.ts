import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sink } from '../../src/core/sink.ts';
import { classifyBulk } from '../../src/sinks/elasticsearch/answer.ts';
import { createElasticsearchSink, elasticsearchOptions } from '../../src/sinks/elasticsearch/sink.ts';
import { setupRequests } from '../../src/sinks/elasticsearch/template.ts';
import { NoAnswer } from '../../src/sinks/shared/http.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { runCli } from '../support/run-cli.ts';
import { sampleLines } from '../support/sample-records.ts';
import { runTrial } from '../support/sink-trial.ts';
import { temporaryDirectory } from '../support/tmp.ts';

const API_KEY = 'an-api-key';
const STREAM = 'logs-changetrail.records-default';

function sinkTo(port: number, more: object = {}): Sink {
  const options = { type: 'elasticsearch', url: `http://127.0.0.1:${port}`, timeout_ms: 2000, batch_wait_ms: 5 };
  return createElasticsearchSink(elasticsearchOptions.parse({ ...options, ...more }), {
    name: 'elastic',
    log: memoryLog().log,
    now: Date.now,
  });
}

/** `_bulk` as documented: `create` with an id, 409 for one that is there, 400 for what the mapping refuses, API keys. */
class FakeElastic {
  readonly documents = new Map<string, Record<string, unknown>>();
  /** Of so many items one is refused for load, as often as said. */
  busy = 0;

  handle(request: ReceivedRequest): Reply {
    if (request.headers.authorization !== `ApiKey ${API_KEY}`) return { status: 401 };
    if (request.method === 'GET') return { status: 200, body: JSON.stringify({ version: { number: '9.1.0' } }) };
    if (request.url !== `/${STREAM}/_bulk`) return { status: 404 };
    if (request.headers['content-type'] !== 'application/x-ndjson') return { status: 406 };
    const lines = request.body.toString('utf8').split('\n');
    const items = [];
    for (let i = 0; i + 1 < lines.length; i += 2) {
      const id = JSON.parse(lines[i]!).create._id as string;
      items.push({ create: { _id: id, ...this.#create(id, JSON.parse(lines[i + 1]!)) } });
    }
    const errors = items.some(({ create }) => create.status !== 201);
    return { status: 200, body: JSON.stringify({ took: 1, errors, items }) };
  }

  #create(id: string, document: Record<string, unknown>) {
    if (this.documents.has(id)) return { status: 409, error: { type: 'version_conflict_engine_exception' } };
    const outcome = (document['event'] as { outcome?: string } | undefined)?.outcome;
    if (outcome === 'unknown') return { status: 400, error: { type: 'document_parsing_exception' } };
    if (this.busy > 0 && this.busy-- % 2 === 0)
      return { status: 429, error: { type: 'es_rejected_execution_exception' } };
    this.documents.set(id, document);
    return { status: 201 };
  }
}

async function startFake(): Promise<SinkReceiver> {
  const elastic = new FakeElastic();
  elastic.busy = 2000;
  const server = await HttpReceiver.start((request) => elastic.handle(request));
  return {
    port: server.port,
    sink: (port) => sinkTo(port, { api_key: API_KEY }),
    ids: async () => [...elastic.documents.keys()],
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sinkTo(port, { api_key: 'wrong' }),
    poison: (record) => ({ ...record, outcome: 'unknown' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const call = async (port: number, method: string, path: string, body?: object) => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
};

/** All documents of the data stream with their ids, by scrolling. */
async function documentsOf(port: number): Promise<{ _id: string; _source: Record<string, unknown> }[]> {
  await call(port, 'POST', `/${STREAM}/_refresh`);
  const found: { _id: string; _source: Record<string, unknown> }[] = [];
  let page = await call(port, 'POST', `/${STREAM}/_search?scroll=1m`, { size: 5000, sort: ['_doc'] });
  if (page.status === 404) return [];
  for (;;) {
    const hits = (page.body['hits'] as { hits: typeof found }).hits;
    if (hits.length === 0) return found;
    found.push(...hits);
    page = await call(port, 'POST', '/_search/scroll', { scroll: '1m', scroll_id: page.body['_scroll_id'] });
  }
}

/** Installs what `changetrail setup` installs, but for the lifecycle: this node has no plugin for it. */
async function install(port: number): Promise<void> {
  const [, template] = setupRequests(
    { distribution: 'opensearch', version: '2.19.6' },
    { dataStream: STREAM, format: 'ecs', retentionDays: null },
  );
  const answer = await call(port, 'PUT', template!.path, template!.body);
  expect(answer).toMatchObject({ status: 200, body: { acknowledged: true } });
}

async function startOpenSearch(): Promise<SinkReceiver> {
  const server = await Receiver.start('opensearch');
  await install(server.port);
  return {
    port: server.port,
    sink: (port) => sinkTo(port, { timeout_ms: 10_000 }),
    ids: async () => (await documentsOf(server.port)).map(({ _id }) => _id),
    restart: (whileDown) => server.restart(whileDown),
    // A date that is none.
    poison: (record) => ({ ...record, time: 'yesterday' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

await sinkConformance({ name: 'elasticsearch', http: true, order: 'none', duplicates: 'dropped', start: startFake });
await sinkConformance({
  name: 'elasticsearch to OpenSearch',
  http: true,
  order: 'none',
  duplicates: 'dropped',
  heavy: true,
  needs: 'opensearch',
  start: startOpenSearch,
});

describe.skipIf(process.env['CHANGETRAIL_SINKS'] !== 'all' || (await receiverMissing('opensearch')))(
  'OpenSearch (only with CHANGETRAIL_SINKS=all)',
  { timeout: 600_000 },
  () => {
    let server: Receiver;
    beforeAll(async () => {
      server = await Receiver.start('opensearch', {
        args: ['indexing_pressure.memory.limit=40kb', 'http.max_content_length=1mb'],
      });
    }, 600_000);
    afterAll(() => server?.[Symbol.asyncDispose]());

    test('takes every kind of record, in ECS and as it stands', async () => {
      for (const format of ['ecs', 'native'] as const) {
        const stream = `records-${format}`;
        const [, template] = setupRequests(
          { distribution: 'opensearch', version: '2.19.6' },
          { dataStream: stream, format, retentionDays: 30 },
        );
        expect((await call(server.port, 'PUT', template!.path, template!.body)).status).toBe(200);
        const sink = sinkTo(server.port, { data_stream: stream, format, timeout_ms: 30_000 });
        for (const line of sampleLines()) {
          const answer = await sink.deliver(batchOf([line]), AbortSignal.timeout(60_000));
          expect(answer, line).toEqual({ outcome: 'accepted' });
        }
        await sink.close();
      }
    });

    test('under load takes all in the end: 429, 413 and a read-only index', async () => {
      await install(server.port);
      await using trial = await runTrial();
      // Some 2 MB in the first request: too long for the server, then too much for its memory.
      await trial.fill(2000);
      const delivery = trial.deliver(sinkTo(server.port, { timeout_ms: 30_000, compression: 'none' }));
      await trial.until(() => delivery.status().cursor > 0, 'first documents');
      await call(server.port, 'PUT', `/${STREAM}/_settings`, { 'index.blocks.write': true });
      await trial.fill(100);
      await trial.until(() => delivery.status().lastError?.startsWith('403') === true, 'the block to be seen');
      await call(server.port, 'PUT', `/${STREAM}/_settings`, { 'index.blocks.write': false });
      await delivery.drain();
      const ids = (await documentsOf(server.port)).map(({ _id }) => _id);
      expect(new Set(ids)).toEqual(new Set(trial.ids));
      expect(delivery.status().deadLetters).toBe(0);
    });
  },
);

describe('classifyBulk', () => {
  const answer = (...statuses: number[]) => ({
    status: 200,
    headers: {},
    body: Buffer.from(
      JSON.stringify({
        errors: true,
        items: statuses.map((status) => ({
          create: { status, error: { type: 'some_exception', reason: 'a secret value' } },
        })),
      }),
    ),
  });

  test('takes 201 and 409 for success', () => {
    expect(classifyBulk(answer(201, 409, 200), 3, 0)).toEqual({ outcome: 'accepted' });
  });

  test('reads each item: load and blocks are tried again, refusals are not, and no reason holds a value', () => {
    const delivery = classifyBulk(answer(201, 429, 400, 503, 403, 413), 6, 0);
    expect(delivery).toEqual({
      outcome: 'partial',
      failed: [
        { at: 1, retry: true, reason: '429 some_exception' },
        { at: 2, retry: false, reason: '400 some_exception' },
        { at: 3, retry: true, reason: '503 some_exception' },
        { at: 4, retry: true, reason: '403 some_exception' },
        { at: 5, retry: false, reason: 'too_large' },
      ],
    });
    expect(JSON.stringify(delivery)).not.toContain('secret');
  });

  test('asks for a smaller record when a text is too long for the index', () => {
    const error = {
      type: 'illegal_argument_exception',
      reason: 'Document contains at least one immense term in field',
    };
    const body = Buffer.from(
      JSON.stringify({ items: [{ create: { status: 201 } }, { create: { status: 400, error } }] }),
    );
    expect(classifyBulk({ status: 200, headers: {}, body }, 2, 0)).toEqual({
      outcome: 'partial',
      failed: [{ at: 1, retry: false, reason: 'too_large' }],
    });
  });

  // Answers of OpenSearch 2.19: 400, but nothing is wrong with the document.
  test.each([
    ['illegal_argument_exception', 'pipeline with id [nope] does not exist', 'the ingest pipeline does not exist'],
    [
      'validation_exception',
      'Validation Failed: 1: this action would add [2] total shards',
      '400 validation_exception',
    ],
    ['index_closed_exception', 'closed', '400 index_closed_exception'],
  ])('gives up no record for what an operator mends: %s', (type, reason, said) => {
    const body = Buffer.from(JSON.stringify({ items: [{ create: { status: 400, error: { type, reason } } }] }));
    expect(classifyBulk({ status: 200, headers: {}, body }, 1, 0)).toEqual({
      outcome: 'partial',
      failed: [{ at: 0, retry: true, reason: said }],
    });
  });

  test('does not believe an answer with other items than were sent', () => {
    expect(classifyBulk(answer(201), 2, 0).outcome).toBe('unavailable');
    const empty = { status: 200, headers: {}, body: Buffer.from('{}') };
    expect(classifyBulk(empty, 1, 0).outcome).toBe('unavailable');
    expect(classifyBulk({ ...empty, status: 202 }, 1, 0).outcome).toBe('unavailable');
    expect(classifyBulk(new NoAnswer('ETIMEDOUT'), 1, 0)).toEqual({ outcome: 'unavailable', reason: 'ETIMEDOUT' });
  });
});

test('documents have @timestamp with microseconds, and an id of at most 512 bytes', async () => {
  const elastic = new FakeElastic();
  await using server = await HttpReceiver.start((request) => elastic.handle(request));
  const long = 'x'.repeat(600);
  const line = (id: string) =>
    `{"v":1,"index":0,"id":"${id}","kind":"event","time":"2026-11-24T10:00:00.123456Z","n":12345678901234567890}`;
  const sink = sinkTo(server.port, { api_key: API_KEY, format: 'native' });
  await sink.deliver(batchOf([line('a'), line(long)]), AbortSignal.timeout(5000));
  await sink.close();
  const [first, second] = [...elastic.documents.keys()];
  expect(first).toBe('a');
  expect(second).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(elastic.documents.get('a')).toMatchObject({ '@timestamp': '2026-11-24T10:00:00.123456Z', id: 'a' });
});

describe('what setup installs', () => {
  test('is printed by `changetrail setup --sinks` and sent with --apply', async () => {
    const puts: string[] = [];
    await using server = await HttpReceiver.start(({ method, url, body }) => {
      if (method === 'GET') return { status: 200, body: JSON.stringify({ version: { number: '9.1.0' } }) };
      puts.push(`${method} ${url} ${JSON.parse(body.toString('utf8')) !== null}`);
      return { status: 200, body: '{"acknowledged":true}' };
    });
    await using dir = await temporaryDirectory();
    const config = dir.join('changetrail.yaml');
    const sink = { type: 'elasticsearch', url: `http://127.0.0.1:${server.port}`, retention_days: 400 };
    const shop = { type: 'postgres', url: 'postgres://localhost/shop' };
    writeFileSync(config, JSON.stringify({ data: dir.path, sources: { shop }, sinks: { elastic: sink } }));
    const printed = await runCli(['setup', '--sinks', '--config', config]);
    expect(printed, printed.stderr).toMatchObject({ code: 0 });
    expect(printed.stdout).toContain(`PUT /_index_template/${STREAM}\n{`);
    expect(puts).toEqual([]);
    const applied = await runCli(['setup', '--sinks', '--apply', '--config', config]);
    expect(applied, applied.stderr).toMatchObject({ code: 0 });
    expect(puts).toEqual([`PUT /_ilm/policy/${STREAM} true`, `PUT /_index_template/${STREAM} true`]);
  });

  test('is the lifecycle, then the template that names it', () => {
    const requests = setupRequests(
      { distribution: 'elasticsearch', version: '9.1.0' },
      { dataStream: STREAM, format: 'ecs', retentionDays: 400 },
    );
    expect(requests.map(({ path }) => path)).toEqual([`/_ilm/policy/${STREAM}`, `/_index_template/${STREAM}`]);
    expect(JSON.stringify(requests[0]!.body)).toContain('"min_age":"400d"');
    expect(requests[1]!.body).toMatchObject({
      data_stream: {},
      template: {
        settings: { 'index.lifecycle.name': STREAM },
        mappings: {
          properties: { changetrail: { properties: { before: { type: 'flattened' }, after: { type: 'flattened' } } } },
        },
      },
    });
  });
});
