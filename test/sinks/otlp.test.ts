import { ProtobufLogsSerializer } from '@opentelemetry/otlp-transformer';
import { describe, expect, test } from 'vitest';
import { classifyOtlp } from '../../src/sinks/otlp/classify.ts';
import { otlpOptions } from '../../src/sinks/otlp/options.ts';
import { createOtlpSink } from '../../src/sinks/otlp/sink.ts';
import { NoAnswer } from '../../src/sinks/shared/http.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { HttpReceiver } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { sampleLines } from '../support/sample-records.ts';
import { until } from '../support/wait.ts';

interface KeyValue {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string };
}

interface LogRecord {
  readonly timeUnixNano: string;
  readonly severityNumber: number;
  readonly eventName?: string;
  readonly body: { readonly stringValue: string };
  readonly attributes: readonly KeyValue[];
  readonly traceId?: string;
  readonly spanId?: string;
}

interface ExportedLogs {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scopeLogs: readonly { readonly logRecords: readonly LogRecord[] }[];
  }[];
}

type Encoding = 'protobuf' | 'json';

const sinkTo = (port: number, encoding: Encoding, more: object = {}) =>
  createOtlpSink(
    otlpOptions.parse({ type: 'otlp', url: `http://127.0.0.1:${port}`, encoding, timeout_ms: 20_000, ...more }),
    { name: 'otlp', log: memoryLog().log, now: Date.now },
  );

const records = (line: string): LogRecord[] =>
  (JSON.parse(line) as ExportedLogs).resourceLogs.flatMap(({ scopeLogs }) =>
    scopeLogs.flatMap(({ logRecords }) => logRecords),
  );

const attribute = (record: LogRecord, key: string) => {
  const value = record.attributes.find((entry) => entry.key === key)?.value;
  return value?.stringValue ?? value?.intValue;
};

/** The OpenTelemetry Collector; what it got stands in a file. */
async function startCollector(encoding: Encoding): Promise<SinkReceiver & { all(): LogRecord[] }> {
  const collector = await Receiver.start('otelcol');
  const file = collector.tail(records, `otelcol-${collector.port}`, 'logs.jsonl');
  const all = () => file.entries().flat();
  return {
    port: collector.port,
    all,
    // Behind a proxy that stalls a request is soon given up; before the receiver itself, no slow machine makes it so.
    sink: (port) => sinkTo(port, encoding, port === collector.port ? {} : { timeout_ms: 1500 }),
    ids: async () => all().map((record) => attribute(record, 'changetrail.id') ?? ''),
    restart: (whileDown) => collector.restart(whileDown),
    [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
  };
}

for (const encoding of ['protobuf', 'json'] as const) {
  const name = `otlp ${encoding} (OpenTelemetry Collector)`;
  await sinkConformance({
    name,
    order: 'ledger',
    duplicates: 'kept',
    needs: 'otelcol',
    start: () => startCollector(encoding),
  });
}

describe.skipIf(await receiverMissing('otelcol'))('what the Collector gets', () => {
  test.each(['protobuf', 'json'] as const)(
    'in %s: body, time to the microsecond, attributes, trace',
    async (encoding) => {
      await using collector = await startCollector(encoding);
      const sink = sinkTo(collector.port, encoding, { resource: { 'deployment.environment.name': 'test' } });
      const lines = sampleLines();
      expect(await sink.deliver(batchOf(lines), AbortSignal.timeout(10_000))).toEqual({ outcome: 'accepted' });
      await sink.close();
      await until(() => collector.all().length === lines.length, { what: 'all records in the file' });
      const logs = collector.all();
      expect(logs.map(({ body }) => body.stringValue)).toEqual(lines);
      expect(logs[0]).toMatchObject({
        timeUnixNano: '1795514400123456000',
        severityNumber: 9,
        eventName: 'changetrail.change',
        traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
        spanId: '00f067aa0ba902b7',
      });
      const shown = ['changetrail.index', 'db.system.name', 'db.collection.name', 'db.operation.name', 'user.id'];
      expect(shown.map((key) => attribute(logs[0]!, key))).toEqual([
        '48213',
        'postgresql',
        'public.users',
        'insert',
        'alice@example.com',
      ]);
      const gap = logs.find(({ eventName }) => eventName === 'changetrail.gap');
      expect(gap?.severityNumber).toBe(17);
    },
  );
});

describe('partial success', () => {
  /** A receiver that rejects records whose id is in `bad`, without saying which, as OTLP does; it keeps the others. */
  async function picky(bad: ReadonlySet<string>) {
    const kept: string[] = [];
    const server = await HttpReceiver.start((request) => {
      const ids = records(request.body.toString('utf8')).map((record) => attribute(record, 'changetrail.id') ?? '');
      kept.push(...ids.filter((id) => !bad.has(id)));
      const rejected = ids.filter((id) => bad.has(id)).length;
      const partialSuccess = rejected === 0 ? {} : { rejectedLogRecords: String(rejected), errorMessage: 'no' };
      return { status: 200, body: JSON.stringify({ partialSuccess }) };
    });
    return { server, kept };
  }

  test('finds exactly the rejected records, and loses none of the others', async () => {
    const lines = sampleLines();
    const ids = lines.map((line) => JSON.parse(line).id as string);
    for (const places of [[0], [28], [3, 4, 17], ids.map((_, at) => at)]) {
      const { server, kept } = await picky(new Set(places.map((at) => ids[at]!)));
      await using _ = server;
      const sink = sinkTo(server.port, 'json', { compression: 'none' });
      const answer = await sink.deliver(batchOf(lines), AbortSignal.timeout(10_000));
      await sink.close();
      if (places.length === ids.length) expect(answer).toMatchObject({ outcome: 'rejected' });
      else {
        expect(answer).toMatchObject({ outcome: 'partial' });
        const failed = answer.outcome === 'partial' ? answer.failed : [];
        expect(failed.map(({ at }) => at)).toEqual(places);
        expect(failed.every(({ retry }) => !retry)).toBe(true);
      }
      expect(new Set(kept)).toEqual(new Set(ids.filter((_, at) => !places.includes(at))));
    }
  });

  test('is read from protobuf too', () => {
    // ExportLogsServiceResponse { partial_success { rejected_log_records: 2, error_message: "no" } }
    const body = Buffer.from([0x0a, 0x06, 0x08, 0x02, 0x12, 0x02, 0x6e, 0x6f]);
    const decode = (bytes: Uint8Array) => ProtobufLogsSerializer.deserializeResponse(bytes);
    const answer = { status: 200, headers: { 'content-type': 'application/x-protobuf' }, body };
    expect(classifyOtlp(answer, 5, 0, decode)).toEqual({ outcome: 'some_rejected', count: 2 });
    expect(classifyOtlp(answer, 2, 0, decode)).toMatchObject({ outcome: 'rejected' });
  });

  test.each([
    ['an empty success', { status: 200, headers: {}, body: '' }, 'accepted'],
    ['a JSON success', { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' }, 'accepted'],
    ['a web page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'unavailable'],
    ['broken JSON', { status: 200, headers: { 'content-type': 'application/json' }, body: '{"part' }, 'unavailable'],
    ['a JSON text', { status: 200, headers: { 'content-type': 'application/json' }, body: '"ok"' }, 'unavailable'],
    ['202', { status: 202, headers: {}, body: '' }, 'unavailable'],
    ['400', { status: 400, headers: {}, body: '' }, 'rejected'],
    ['401', { status: 401, headers: {}, body: '' }, 'unavailable'],
    ['413', { status: 413, headers: {}, body: '' }, 'too_large'],
    ['429', { status: 429, headers: { 'retry-after': '3' }, body: '' }, 'throttled'],
    ['503', { status: 503, headers: {}, body: '' }, 'unavailable'],
  ] as const)('%s is %s', (_name, answer, outcome) => {
    const decode = (bytes: Uint8Array) => ProtobufLogsSerializer.deserializeResponse(bytes);
    const whole = { ...answer, body: Buffer.from(answer.body) };
    expect(classifyOtlp(whole, 5, 0, decode).outcome).toBe(outcome);
  });

  test('no answer is unavailable', () => {
    expect(classifyOtlp(new NoAnswer('ECONNREFUSED'), 1, 0, () => ({})).outcome).toBe('unavailable');
  });
});
