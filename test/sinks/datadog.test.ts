import { expect, test } from 'vitest';
import { createDatadogSink, datadogOptions } from '../../src/sinks/datadog/sink.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { startVictoria } from '../support/victorialogs.ts';

const KEY = 'a-datadog-key';

function sinkTo(port: number, more: object = {}, now = Date.now) {
  const options = {
    type: 'datadog',
    url: `http://127.0.0.1:${port}`,
    api_key: KEY,
    timeout_ms: 1000,
    batch_wait_ms: 5,
  };
  return createDatadogSink(datadogOptions.parse({ ...options, ...more }), { name: 'dd', log: memoryLog().log, now });
}

interface Entry {
  readonly message: string;
  readonly ddsource: string;
  readonly ddtags?: string;
  readonly service: string;
  readonly status: string;
  readonly timestamp?: number;
}

/** Datadog's documented intake: the key, 1,000 entries, 5 MB and 1 MB an entry, which the real one would cut off. */
function intake(entries: Entry[]): (request: ReceivedRequest) => Reply {
  return ({ headers, url, body }) => {
    if (headers['dd-api-key'] !== KEY) return { status: 403 };
    if (url !== '/api/v2/logs') return { status: 404 };
    if (body.length > 5_000_000) return { status: 413 };
    const got = JSON.parse(body.toString('utf8')) as Entry[];
    if (got.length > 1000 || got.some((entry) => JSON.stringify(entry).length > 1_000_000)) return { status: 413 };
    if (got.some((entry) => entry.message.includes('"outcome":"unknown"'))) return { status: 400 };
    entries.push(...got);
    return { status: 202 };
  };
}

async function startIntake(): Promise<SinkReceiver> {
  const entries: Entry[] = [];
  const server = await HttpReceiver.start(intake(entries));
  return {
    port: server.port,
    sink: (port) => sinkTo(port),
    ids: async () => entries.map((entry) => JSON.parse(entry.message).id),
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sinkTo(port, { api_key: 'wrong' }),
    poison: (record) => ({ ...record, outcome: 'unknown' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

await sinkConformance({ name: 'datadog', http: true, order: 'none', duplicates: 'kept', start: startIntake });
await sinkConformance({
  name: 'datadog to VictoriaLogs',
  http: true,
  order: 'none',
  duplicates: 'kept',
  heavy: true,
  needs: 'victorialogs',
  start: () => startVictoria((port) => sinkTo(port)),
});

async function entriesOf(lines: readonly string[], more: object = {}, now = Date.now): Promise<Entry[]> {
  const entries: Entry[] = [];
  await using server = await HttpReceiver.start(intake(entries));
  const sink = sinkTo(server.port, more, now);
  expect(await sink.deliver(batchOf(lines), AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
  await sink.close();
  return entries;
}

const line = (kind: string, outcome: string, time = '2026-11-24T10:00:00.123456Z') =>
  `{"v":1,"index":0,"id":"a","kind":"${kind}","time":"${time}","captured":"${time}","source":{"name":"shop"},"context":{"outcome":"denied"},"outcome":"${outcome}"}`;

test('an entry has source, service, tags, a status from the outcome and the record as it stands', async () => {
  const now = () => Date.parse('2026-11-24T11:00:00Z');
  const lines = [
    line('change', 'success'),
    line('access', 'denied'),
    line('change', 'failure'),
    line('gap', 'success'),
  ];
  const entries = await entriesOf(lines, { tags: ['env:prod', 'team:a'] }, now);
  expect(entries.map((entry) => entry.status)).toEqual(['info', 'warning', 'error', 'alert']);
  expect(entries[0]).toEqual({
    ddsource: 'changetrail',
    ddtags: 'env:prod,team:a',
    service: 'shop',
    status: 'info',
    timestamp: 1795514400123,
    message: lines[0],
  });
});

test('a record more than 18 hours old is sent without a time of its own', async () => {
  const now = () => Date.parse('2026-11-25T10:00:00Z');
  const [old, young] = await entriesOf(
    [line('change', 'success'), line('change', 'success', '2026-11-25T09:00:00.000Z')],
    {},
    now,
  );
  expect(old).not.toHaveProperty('timestamp');
  expect(young).toHaveProperty('timestamp', Date.parse('2026-11-25T09:00:00Z'));
});

test('an entry that quoting makes too long is named, the others are sent', async () => {
  const entries: Entry[] = [];
  await using server = await HttpReceiver.start(intake(entries));
  const sink = sinkTo(server.port);
  const long = `{"id":"b","kind":"change","time":"2026-11-24T10:00:00.000Z","after":${JSON.stringify('"'.repeat(300_000))}}`;
  const answer = await sink.deliver(batchOf([line('change', 'success'), long]), AbortSignal.timeout(5000));
  await sink.close();
  expect(answer).toEqual({ outcome: 'partial', failed: [{ at: 1, retry: false, reason: 'too_large' }] });
  expect(entries).toHaveLength(1);
});
