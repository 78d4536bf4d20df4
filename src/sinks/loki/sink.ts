import snappy from 'snappyjs';
import { z } from 'zod';
import type { CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { epochMicros, objectName } from '../../record/mappings/facts.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { parseFront } from '../../record/parse.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import { classifyHttp } from '../shared/classify.ts';
import { encodeLines } from '../shared/encode.ts';
import { textAt } from '../shared/fields.ts';
import type { SinkHost } from '../shared/host.ts';
import { basicAuth, type HttpAnswer, HttpClient, NoAnswer } from '../shared/http.ts';
import { httpShape, httpUrl } from '../shared/http-options.ts';
import { encodePush, type LokiEntry, type LokiStream } from './protobuf.ts';

/** Options of the `loki` sink. */
export const lokiOptions = z
  .strictObject({
    type: z.literal('loki'),
    url: httpUrl.meta({ description: 'Loki, without a path.', example: 'https://loki.example.com' }),
    tenant: z.string().min(1).optional().meta({ description: 'Tenant, sent as `X-Scope-OrgID`.', example: 'audit' }),
    token: z.string().min(1).optional().meta({ description: 'Bearer token.', example: '${LOKI_TOKEN}' }),
    user: z.string().min(1).optional().meta({ description: 'User, with `password`.', example: '123456' }),
    password: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'The user’s password or key.', example: '${LOKI_PASSWORD}' }),
    labels: z
      .record(z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/), z.string())
      .default({ job: 'changetrail' })
      .meta({
        description: 'Labels beside `source`, `kind` and `action`. Everything else of a record is structured metadata.',
        example: { job: 'changetrail', env: 'prod' },
      }),
    encoding: z
      .enum(['json', 'protobuf'])
      .default('json')
      .meta({ description: '`protobuf` (with snappy) is what Loki’s own agents send.', example: 'protobuf' }),
    too_old: z.enum(['restamp', 'dead_letter']).default('restamp').meta({
      description:
        'A record that Loki finds too old is sent under the time of sending, with its own time in `time`, or goes to the dead letters.',
      example: 'dead_letter',
    }),
    format: formatOption,
    ...deliveryShape,
    ...httpShape,
  })
  .meta({
    description:
      'Grafana Loki. One stream a source, kind and action, in the order of the ledger. Loki drops a copy with the same time and text.',
  });

type Options = z.infer<typeof lokiOptions>;

/** Loki's default `max_line_size` is 256 KB. */
const MAX_LINE_BYTES = 256_000;
/** Loki's default `reject_old_samples_max_age`. */
const OLDEST_MS = 7 * 86_400_000;
/** What Loki's complaints about an entry's time have in common. */
const TOO_OLD = /too old|too far behind|out of order|greater_than_max_sample_age/i;

/** @throws AUD_SINK_OPTIONS */
export function createLokiSink(options: Options, host: SinkHost): Sink {
  return new LokiSink(options, host);
}

class LokiSink implements Sink {
  readonly limits: SinkLimits = {
    maxBatchRecords: 5_000,
    maxBatchBytes: 1_000_000,
    maxRecordBytes: MAX_LINE_BYTES,
    maxAgeMs: 500,
    maxInFlight: 1,
    maxRecordAgeMs: OLDEST_MS,
  };
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #client: HttpClient;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.#client = new HttpClient(options.url, options, host, {
      'content-type': options.encoding === 'json' ? 'application/json' : 'application/x-protobuf',
      ...(options.tenant === undefined ? {} : { 'x-scope-orgid': options.tenant }),
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.user === undefined ? {} : { authorization: basicAuth(options.user, options.password ?? '') }),
    });
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`Loki at ${this.#client.origin}`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const answer = await this.#push(batch, null, signal);
    const delivery = classifyPush(answer, this.#host.now());
    // Loki keeps the entries it likes and does not say which it dropped: delivery halves until the old one is alone.
    if (delivery.outcome !== 'rejected' || delivery.reason !== 'too_old') return delivery;
    if (batch.count > 1 || this.#options.too_old === 'dead_letter') return delivery;
    return classifyPush(await this.#push(batch, BigInt(this.#host.now()) * 1_000_000n, signal), this.#host.now());
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #push(batch: RecordBatch, nanos: bigint | null, signal: AbortSignal): Promise<HttpAnswer | NoAnswer> {
    const streams = this.#streams(batch, nanos);
    const json = this.#options.encoding === 'json';
    const body = json ? jsonPush(streams) : snappy.compress(encodePush(textLabels(streams)));
    return this.#client.request(
      { method: 'POST', path: '/loki/api/v1/push', body, ...(json ? {} : { compress: false }) },
      signal,
    );
  }

  /** The entries by their labels, each stream in the order of the ledger. */
  #streams(batch: RecordBatch, nanos: bigint | null): Map<string, LokiEntry[]> {
    const lines = encodeLines(batch, this.#options.format);
    const streams = new Map<string, LokiEntry[]>();
    for (let i = 0; i < batch.count; i++) {
      const { labels, metadata, time } = describe(textAt(batch, i));
      const key = JSON.stringify({ ...this.#options.labels, ...labels });
      const entry = {
        nanos: nanos ?? epochMicros(time) * 1000n,
        line: textAt(lines, i),
        metadata: nanos === null ? metadata : { ...metadata, time },
      };
      const stream = streams.get(key);
      if (stream === undefined) streams.set(key, [entry]);
      else stream.push(entry);
    }
    return streams;
  }
}

interface Description {
  readonly labels: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly time: string;
}

/** Few values a label, or Loki suffers; what has many is structured metadata, which is searched as well. */
function describe(line: Buffer): Description {
  const record = parseFront(line);
  const { id, index, kind, action, time, outcome, source, actor } = record;
  return {
    labels: { source: source.name, kind, action },
    metadata: texts({ id, index, object: objectName(record), actor: actor?.id, assurance: actor?.assurance, outcome }),
    time,
  };
}

function texts(values: Readonly<Record<string, unknown>>): Record<string, string> {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

function jsonPush(streams: ReadonlyMap<string, readonly LokiEntry[]>): Buffer {
  const parts = [...streams].map(([labels, entries]) => {
    const values = entries.map(
      ({ nanos, line, metadata }) =>
        `["${nanos}",${JSON.stringify(line.toString('utf8'))},${JSON.stringify(metadata)}]`,
    );
    return `{"stream":${labels},"values":[${values.join(',')}]}`;
  });
  return Buffer.from(`{"streams":[${parts.join(',')}]}`);
}

/** `{action="update", kind="change"}`: label values are quoted as in Go, which JSON's quoting is a part of. */
function textLabels(streams: ReadonlyMap<string, readonly LokiEntry[]>): LokiStream[] {
  return [...streams].map(([key, entries]) => {
    const labels = Object.entries(JSON.parse(key) as Record<string, string>).sort(([a], [b]) => (a < b ? -1 : 1));
    return { labels: `{${labels.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`, entries };
  });
}

/** What an answer of the push endpoint means; exported for its test. */
export function classifyPush(answer: HttpAnswer | NoAnswer, now: number): Delivery {
  const delivery = classifyHttp(answer, now);
  if (answer instanceof NoAnswer) return delivery;
  if (delivery.outcome === 'accepted' && answer.status !== 204 && answer.status !== 200) {
    return { outcome: 'unavailable', reason: `HTTP ${answer.status}` };
  }
  if (delivery.outcome !== 'rejected') return delivery;
  const complaint = answer.body.toString('utf8', 0, 4096);
  if (TOO_OLD.test(complaint)) return { outcome: 'rejected', reason: 'too_old' };
  if (/max entry size|line too long|max_line_size/i.test(complaint)) return { outcome: 'too_large' };
  return delivery;
}
