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
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runTrial } from '../support/sink-trial.ts';

const TIMEOUT_MS = 150;
const host: SinkHost = { name: 'sink', log: memoryLog().log, now: Date.now };
const RUNS = process.env['CHANGETRAIL_SLOW'] === '1' ? 200 : 12;

interface Wire {
  readonly name: string;
  sink(port: number): Sink;
  /** A receiver's answers; it tells `keep` the ids that it has for good. */
  receiver(keep: (ids: readonly string[]) => void): (request: ReceivedRequest) => Reply;
  /** A garbled body is told from a good one. Where the status alone counts it is not. */
  readonly readsBody: boolean;
}

const base = (port: number) => ({ url: `http://127.0.0.1:${port}`, timeout_ms: TIMEOUT_MS, batch_wait_ms: 1 });
const idOf = (text: string): string => (JSON.parse(text) as { id: string }).id;
const linesOf = ({ body }: ReceivedRequest): string[] => body.toString('utf8').trimEnd().split('\n');

const hecIds = (request: ReceivedRequest) =>
  linesOf(request).map((line) => (JSON.parse(line) as { event: { id: string } }).event.id);
const hecSink = (port: number, more: object) =>
  createSplunkHecSink(splunkHecOptions.parse({ type: 'splunk_hec', token: 't', ...base(port), ...more }), host);

/** A collector whose events are written a while after the 200: when the acknowledgement is asked for the second time. */
function acknowledging(keep: (ids: readonly string[]) => void): (request: ReceivedRequest) => Reply {
  const pending = new Map<number, { ids: readonly string[]; asked: number }>();
  let next = 0;
  return (request) => {
    if (request.url.startsWith('/services/collector/event')) {
      pending.set(next, { ids: hecIds(request), asked: 0 });
      return { status: 200, body: JSON.stringify({ text: 'Success', code: 0, ackId: next++ }) };
    }
    const { acks } = JSON.parse(request.body.toString('utf8')) as { acks: number[] };
    const said = acks.map((id) => {
      const batch = pending.get(id);
      const written = batch !== undefined && batch.asked++ > 0;
      if (written) keep(batch.ids);
      return [id, written];
    });
    return { status: 200, body: JSON.stringify({ acks: Object.fromEntries(said) }) };
  };
}

const WIRES: readonly Wire[] = [
  {
    name: 'http',
    readsBody: false,
    sink: (port) => createHttpSink(httpOptions.parse({ type: 'http', ...base(port) }), host),
    receiver: (keep) => (request) => {
      keep((JSON.parse(request.body.toString('utf8')) as { id: string }[]).map(({ id }) => id));
      return { status: 200 };
    },
  },
  {
    name: 'splunk_hec',
    readsBody: true,
    sink: (port) => hecSink(port, {}),
    receiver: (keep) => (request) => {
      keep(hecIds(request));
      return { status: 200, body: '{"text":"Success","code":0}' };
    },
  },
  {
    name: 'splunk_hec with acknowledgement',
    readsBody: true,
    sink: (port) => hecSink(port, { acknowledge: true, acknowledge_timeout_ms: 2000 }),
    receiver: acknowledging,
  },
  {
    name: 'elasticsearch',
    readsBody: true,
    sink: (port) => createElasticsearchSink(elasticsearchOptions.parse({ type: 'elasticsearch', ...base(port) }), host),
    receiver: (keep) => (request) => {
      const ids = linesOf(request)
        .filter((_, i) => i % 2 === 0)
        .map((line) => JSON.parse(line).create._id as string);
      keep(ids);
      const items = ids.map(() => ({ create: { status: 201 } }));
      return { status: 200, body: JSON.stringify({ errors: false, items }) };
    },
  },
  {
    name: 'datadog',
    readsBody: false,
    sink: (port) => createDatadogSink(datadogOptions.parse({ type: 'datadog', api_key: 'k', ...base(port) }), host),
    receiver: (keep) => (request) => {
      keep((JSON.parse(request.body.toString('utf8')) as { message: string }[]).map(({ message }) => idOf(message)));
      return { status: 202, body: '{}' };
    },
  },
  {
    name: 'loki',
    readsBody: false,
    sink: (port) => createLokiSink(lokiOptions.parse({ type: 'loki', ...base(port) }), host),
    receiver: (keep) => (request) => {
      const { streams } = JSON.parse(request.body.toString('utf8')) as { streams: { values: string[][] }[] };
      keep(streams.flatMap(({ values }) => values.map(([, line]) => idOf(line!))));
      return { status: 204, body: '' };
    },
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
    await using receiver = await HttpReceiver.start(wire.receiver((ids) => received.push(...ids)));
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
