import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { CheckItem, CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, SetupStep, Sink, SinkLimits } from '../../core/sink.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { adviceFor } from '../../pipeline/delivery/advice.ts';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { FORMATS } from '../../record/mappings/index.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import { classifyHttp, jsonBody } from '../shared/classify.ts';
import { encodeLines } from '../shared/encode.ts';
import { rawField, textAt, textField } from '../shared/fields.ts';
import type { SinkHost } from '../shared/host.ts';
import { basicAuth, HttpClient, NoAnswer } from '../shared/http.ts';
import { httpShape, httpUrl } from '../shared/http-options.ts';
import { classifyBulk } from './answer.ts';
import { type SearchServer, setupRequests } from './template.ts';

/** Options of the `elasticsearch` sink. */
export const elasticsearchOptions = z
  .strictObject({
    type: z.literal('elasticsearch'),
    url: httpUrl.meta({
      description: 'Elasticsearch 8, 9 or OpenSearch 2, 3.',
      example: 'https://es.example.com:9200',
    }),
    data_stream: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]*$/)
      .default('logs-changetrail.records-default')
      .meta({ description: 'Data stream the records go to.', example: 'logs-changetrail.records-prod' }),
    api_key: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'API key, as encoded by Elasticsearch.', example: '${ES_API_KEY}' }),
    user: z.string().min(1).optional().meta({ description: 'User, with `password`.', example: 'changetrail' }),
    password: z.string().min(1).optional().meta({ description: 'The user’s password.', example: '${ES_PASSWORD}' }),
    pipeline: z.string().optional().meta({ description: 'Ingest pipeline.', example: 'geoip-clients' }),
    retention_days: z.number().int().positive().optional().meta({
      description: 'Days that the lifecycle of `changetrail setup` keeps records; default: for ever.',
      example: 400,
    }),
    format: z
      .enum(FORMATS)
      .default('ecs')
      .meta({ description: 'Shape of the documents. All but `ecs` get `@timestamp` added.', example: 'native' }),
    ...deliveryShape,
    ...httpShape,
  })
  .meta({
    description:
      'Elasticsearch and OpenSearch by `_bulk` into a data stream, with the record’s id as the document’s: a resend is dropped, except across a rollover.',
  });

type Options = z.infer<typeof elasticsearchOptions>;

/** Elasticsearch refuses longer document ids. */
const MAX_ID_BYTES = 512;

/** @throws AUD_SINK_OPTIONS */
export function createElasticsearchSink(options: Options, host: SinkHost): Sink {
  return new ElasticsearchSink(options, host);
}

class ElasticsearchSink implements Sink {
  readonly limits: SinkLimits = {
    maxBatchRecords: 5_000,
    maxBatchBytes: 4 << 20,
    // The server's own limit is 100 MB a request; documents of that size make it suffer.
    maxRecordBytes: 4 << 20,
    maxAgeMs: 500,
    maxInFlight: 2,
  };
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #client: HttpClient;
  readonly #path: string;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.#client = new HttpClient(options.url, options, host, {
      'content-type': 'application/x-ndjson',
      ...authorization(options),
    });
    const pipeline = options.pipeline === undefined ? '' : `?pipeline=${encodeURIComponent(options.pipeline)}`;
    this.#path = `/${options.data_stream}/_bulk${pipeline}`;
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const server = await this.#server(signal);
    // A key that may only write documents may not ask for the version; whether it may write is seen below.
    if ('failure' in server && server.status !== 403) return { items: [server.failure] };
    const name = 'failure' in server ? 'server' : `${server.distribution} ${server.version}`;
    const items: CheckItem[] = [
      { name: `${name} at ${this.#client.origin}`, level: 'ok', detail: 'The server answers.' },
    ];
    const template = await this.#checkTemplate(signal);
    items.push(template.item);
    // A test event would create the data stream with guessed mappings.
    if (template.absent) return { items };
    items.push(checkItem(`_bulk to ${this.#options.data_stream}`, await this.deliver(testBatch(this.#host), signal)));
    return { items };
  }

  async #checkTemplate(signal: AbortSignal): Promise<{ readonly item: CheckItem; readonly absent: boolean }> {
    const { data_stream } = this.#options;
    const path = `/_index_template/${encodeURIComponent(data_stream)}`;
    const answer = await this.#client.request({ method: 'GET', path }, signal);
    const name = 'index template';
    if (!(answer instanceof NoAnswer) && answer.status === 200)
      return { item: { name, level: 'ok', detail: 'The index template is installed.' }, absent: false };
    const absent = !(answer instanceof NoAnswer) && answer.status === 404;
    const why = answer instanceof NoAnswer ? answer.reason : `HTTP ${answer.status}`;
    const detail = absent
      ? `There is no index template ${data_stream}: documents would be mapped by guessing. No test event was sent.`
      : `The index template cannot be looked at: ${why}.`;
    return { item: { name, level: 'warning', detail, fix: 'changetrail setup --sinks --apply' }, absent };
  }

  async setup(signal: AbortSignal): Promise<readonly SetupStep[]> {
    const server = await this.#server(signal);
    if ('failure' in server) {
      throw new AuditError('AUD_SINK_FAILED', {
        message: `${this.#client.origin}: ${server.failure.detail}`,
        action: 'Start the server or correct the sink’s URL and credentials.',
      });
    }
    const { data_stream, format, retention_days } = this.#options;
    const requests = setupRequests(server, { dataStream: data_stream, format, retentionDays: retention_days ?? null });
    return requests.map(({ path, body }) => ({
      text: `PUT ${path}\n${JSON.stringify(body, null, 2)}`,
      run: (stop) => this.#put(path, body, stop),
    }));
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const answer = await this.#client.request({ method: 'POST', path: this.#path, body: this.#encode(batch) }, signal);
    return classifyBulk(answer, batch.count, this.#host.now());
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #encode(batch: RecordBatch): Buffer {
    const { format } = this.#options;
    const lines = encodeLines(batch, format);
    const parts: Buffer[] = [];
    for (let i = 0; i < batch.count; i++) {
      const record = textAt(batch, i);
      parts.push(Buffer.from(`{"create":{"_id":${documentId(record)}}}\n`));
      const document = textAt(lines, i);
      if (format === 'ecs') parts.push(document, LINE_FEED);
      else parts.push(Buffer.from(`{"@timestamp":"${rawField(record, 'time')}",`), document.subarray(1), LINE_FEED);
    }
    return Buffer.concat(parts);
  }

  async #server(signal: AbortSignal): Promise<SearchServer | { failure: CheckItem; status: number | null }> {
    const answer = await this.#client.request({ method: 'GET', path: '/' }, signal);
    const version =
      answer instanceof NoAnswer ? undefined : (jsonBody(answer)?.['version'] as Record<string, unknown> | undefined);
    if (answer instanceof NoAnswer || answer.status !== 200 || typeof version?.['number'] !== 'string') {
      const delivery = classifyHttp(answer, this.#host.now());
      const detail = 'reason' in delivery ? delivery.reason : 'it is not an Elasticsearch or OpenSearch server';
      const fix = adviceFor(detail);
      const status = answer instanceof NoAnswer ? null : answer.status;
      return {
        failure: { name: this.#client.origin, level: 'error', detail: `No usable answer: ${detail}.`, fix },
        status,
      };
    }
    const distribution = version['distribution'] === 'opensearch' ? 'opensearch' : 'elasticsearch';
    return { distribution, version: version['number'] };
  }

  async #put(path: string, body: object, signal: AbortSignal): Promise<CheckItem> {
    const answer = await this.#client.request(
      { method: 'PUT', path, body: Buffer.from(JSON.stringify(body)), headers: { 'content-type': 'application/json' } },
      signal,
    );
    const name = `PUT ${path}`;
    if (!(answer instanceof NoAnswer) && answer.status >= 200 && answer.status < 300) {
      return { name, level: 'ok', detail: 'Installed.' };
    }
    const reason = answer instanceof NoAnswer ? answer.reason : `HTTP ${answer.status} ${errorType(jsonBody(answer))}`;
    return {
      name,
      level: 'error',
      detail: `Not installed: ${reason}.`,
      fix: 'The user needs the right to manage index templates and lifecycles.',
    };
  }
}

const LINE_FEED = Buffer.from('\n');

/** The record's id as JSON text, or its SHA-256 where it is too long for a document id. */
function documentId(record: Buffer): string {
  const id = textField(record, 'id');
  if (Buffer.byteLength(id) <= MAX_ID_BYTES) return JSON.stringify(id);
  return `"sha256:${createHash('sha256').update(id).digest('hex')}"`;
}

function authorization({ api_key, user, password }: Options): Record<string, string> {
  if (api_key !== undefined) return { authorization: `ApiKey ${api_key}` };
  return user === undefined ? {} : { authorization: basicAuth(user, password ?? '') };
}

function errorType(body: Readonly<Record<string, unknown>> | null): string {
  return String((body?.['error'] as { type?: string } | undefined)?.type ?? '');
}
