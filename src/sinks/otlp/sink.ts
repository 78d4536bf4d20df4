import { JsonLogsSerializer, ProtobufLogsSerializer } from '@opentelemetry/otlp-transformer';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableLogRecord } from '@opentelemetry/sdk-logs';
import type { CheckReport } from '../../core/connector.ts';
import type { Delivery, FailedRecord, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import type { SinkHost } from '../shared/host.ts';
import { HttpClient } from '../shared/http.ts';
import { classifyOtlp, type OtlpAnswer } from './classify.ts';
import { otlpRecords, otlpResource } from './encode.ts';
import type { OtlpOptions } from './options.ts';

const ENCODINGS = {
  protobuf: { serializer: ProtobufLogsSerializer, mediaType: 'application/x-protobuf' },
  json: { serializer: JsonLogsSerializer, mediaType: 'application/json' },
} as const;

/** @throws AUD_SINK_OPTIONS */
export function createOtlpSink(options: OtlpOptions, host: SinkHost): Sink {
  return new OtlpSink(options, host);
}

class OtlpSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: OtlpOptions;
  readonly #host: SinkHost;
  readonly #client: HttpClient;
  readonly #resource: Resource;

  constructor(options: OtlpOptions, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 2000,
      maxBatchBytes: options.max_body_bytes,
      maxRecordBytes: options.max_body_bytes,
      maxAgeMs: 200,
      maxInFlight: 1,
    };
    this.#resource = otlpResource(options.resource);
    this.#client = new HttpClient(logsUrl(options.url), options, host, {
      'content-type': ENCODINGS[options.encoding].mediaType,
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
    });
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`POST ${this.#client.origin}`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const logs = otlpRecords(batch, this.#options.format, this.#resource);
    const answer = await this.#send(logs, signal);
    return answer.outcome === 'some_rejected' ? this.#findRejected(logs, signal) : answer;
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #send(logs: ReadableLogRecord[], signal: AbortSignal): Promise<OtlpAnswer> {
    const { serializer } = ENCODINGS[this.#options.encoding];
    const body = serializer.serializeRequest(logs) ?? new Uint8Array();
    const answer = await this.#client.request({ method: 'POST', path: '', body }, signal);
    return classifyOtlp(answer, logs.length, this.#host.now(), (bytes) =>
      ProtobufLogsSerializer.deserializeResponse(bytes),
    );
  }

  /**
   * The receiver took some and does not say which it did not: the records are sent again by halves, down to single ones.
   * Those it has taken arrive a second time, under the same `changetrail.id`; none is lost.
   */
  async #findRejected(logs: ReadableLogRecord[], signal: AbortSignal): Promise<Delivery> {
    const failed: FailedRecord[] = [];
    const todo = halves(0, logs.length);
    for (let part = todo.shift(); part !== undefined; part = todo.shift()) {
      const { from, to } = part;
      const answer = await this.#send(logs.slice(from, to), signal);
      if (answer.outcome === 'some_rejected') todo.unshift(...halves(from, to));
      else if (answer.outcome === 'rejected') {
        for (let at = from; at < to; at++) failed.push({ at, retry: false, reason: answer.reason });
      } else if (answer.outcome !== 'accepted') return answer;
    }
    return failed.length === 0 ? { outcome: 'accepted' } : { outcome: 'partial', failed };
  }
}

interface Part {
  readonly from: number;
  readonly to: number;
}

function halves(from: number, to: number): Part[] {
  const middle = (from + to) >> 1;
  return [
    { from, to: middle },
    { from: middle, to },
  ];
}

/** The signal's path is added to a base URL without one, as the specification says of the common endpoint. */
function logsUrl(base: string): string {
  const url = new URL(base);
  if (url.pathname === '/' || url.pathname === '') url.pathname = '/v1/logs';
  return url.href;
}
