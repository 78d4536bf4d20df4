// Random schedules of faults between a sink and its receiver: whatever they are, the set of ids at the receiver is the set in
// the ledger, no cursor runs ahead of the receiver, and nothing good is given up.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Sink } from '../../src/core/sink.ts';
import { createDatadogSink, datadogOptions } from '../../src/sinks/datadog/sink.ts';
import { createElasticsearchSink, elasticsearchOptions } from '../../src/sinks/elasticsearch/sink.ts';
import { createHttpSink, httpOptions } from '../../src/sinks/http.ts';
import { createLokiSink, lokiOptions } from '../../src/sinks/loki/sink.ts';
import type { SinkHost } from '../../src/sinks/shared/host.ts';
import { createSplunkHecSink, splunkHecOptions } from '../../src/sinks/splunk-hec/sink.ts';
import { type HttpFault, HttpFaultProxy } from '../support/http-faults.ts';
import { HttpReceiver, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runTrial } from '../support/sink-trial.ts';

const TIMEOUT_MS = 150;
const host: SinkHost = { name: 'sink', log: memoryLog().log, now: Date.now };
const RUNS = process.env['CHANGETRAIL_SLOW'] === '1' ? 200 : 12;

interface Wire {
  readonly name: string;
  sink(port: number): Sink;
  /** Ids in a request's body, and the receiver's answer to it. */
  take(text: string): { readonly ids: readonly string[]; readonly reply: Reply };
  /** A garbled body is told from a good one. Where the status alone counts it is not. */
  readonly readsBody: boolean;
}

const base = (port: number) => ({ url: `http://127.0.0.1:${port}`, timeout_ms: TIMEOUT_MS, batch_wait_ms: 1 });
const idOf = (text: string): string => (JSON.parse(text) as { id: string }).id;

const WIRES: readonly Wire[] = [
  {
    name: 'http',
    readsBody: false,
    sink: (port) => createHttpSink(httpOptions.parse({ type: 'http', ...base(port) }), host),
    take: (text) => ({ ids: (JSON.parse(text) as { id: string }[]).map(({ id }) => id), reply: { status: 200 } }),
  },
  {
    name: 'splunk_hec',
    readsBody: true,
    sink: (port) =>
      createSplunkHecSink(splunkHecOptions.parse({ type: 'splunk_hec', token: 't', ...base(port) }), host),
    take: (text) => ({
      ids: text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { event: { id: string } }).event.id),
      reply: { status: 200, body: '{"text":"Success","code":0}' },
    }),
  },
  {
    name: 'elasticsearch',
    readsBody: true,
    sink: (port) => createElasticsearchSink(elasticsearchOptions.parse({ type: 'elasticsearch', ...base(port) }), host),
    take: (text) => {
      const ids = text
        .trimEnd()
        .split('\n')
        .filter((_, i) => i % 2 === 0)
        .map((line) => JSON.parse(line).create._id);
      const items = ids.map(() => ({ create: { status: 201 } }));
      return { ids, reply: { status: 200, body: JSON.stringify({ errors: false, items }) } };
    },
  },
  {
    name: 'datadog',
    readsBody: false,
    sink: (port) => createDatadogSink(datadogOptions.parse({ type: 'datadog', api_key: 'k', ...base(port) }), host),
    take: (text) => ({
      ids: (JSON.parse(text) as { message: string }[]).map(({ message }) => idOf(message)),
      reply: { status: 202, body: '{}' },
    }),
  },
  {
    name: 'loki',
    readsBody: false,
    sink: (port) => createLokiSink(lokiOptions.parse({ type: 'loki', ...base(port) }), host),
    take: (text) => ({
      ids: (JSON.parse(text) as { streams: { values: string[][] }[] }).streams.flatMap(({ values }) =>
        values.map(([, line]) => idOf(line!)),
      ),
      reply: { status: 204, body: '' },
    }),
  },
];

const forwarded = fc.boolean();
const faults = (readsBody: boolean): fc.Arbitrary<HttpFault> =>
  fc.oneof(
    fc.record({
      kind: fc.constant('status' as const),
      status: fc.constantFrom(301, 401, 404, 408, 429, 500, 502, 503, 504),
      retryAfter: fc.constantFrom('0', 'soon', 'Mon, 01 Jan 2001 00:00:00 GMT'),
      forwarded,
    }),
    fc.record({ kind: fc.constant('cut' as const), forwarded }),
    fc.record({ kind: fc.constant('hang' as const), forwarded }),
    fc.constant({ kind: 'drip' } as const),
    fc.constant({ kind: 'half' } as const),
    fc.constant({ kind: 'pass' } as const),
    ...(readsBody ? [fc.constant({ kind: 'garble' } as const)] : []),
  );

describe.each(WIRES)('$name under a random schedule of faults', { timeout: 600_000 }, (wire) => {
  test('loses nothing and is not fooled', async () => {
    const received: string[] = [];
    await using receiver = await HttpReceiver.start(({ body }) => {
      const { ids, reply } = wire.take(body.toString('utf8'));
      received.push(...ids);
      return reply;
    });
    await using proxy = await HttpFaultProxy.start(receiver.port);
    await fc.assert(
      fc.asyncProperty(
        fc.array(faults(wire.readsBody), { minLength: 1, maxLength: 10 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 30 }),
        async (schedule, records, batch) => {
          await using trial = await runTrial();
          proxy.schedule = schedule;
          proxy.requests = 0;
          await trial.fill(records);
          const delivery = trial.deliver(wire.sink(proxy.port), { batch_records: batch, retry_max_ms: 5 });
          const ahead: number[] = [];
          const watch = setInterval(() => {
            const { cursor } = delivery.status();
            const have = new Set(received);
            if (trial.ids.slice(0, cursor).some((id) => !have.has(id))) ahead.push(cursor);
          }, 5);
          await delivery.drain();
          clearInterval(watch);
          expect(ahead).toEqual([]);
          expect(new Set(received.filter((id) => id.startsWith(`${trial.prefix}:`)))).toEqual(new Set(trial.ids));
          expect(delivery.status()).toMatchObject({ cursor: records, deadLetters: 0 });
        },
      ),
      { numRuns: RUNS },
    );
  });
});
