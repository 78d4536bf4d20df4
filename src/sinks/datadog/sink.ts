import { z } from 'zod';
import type { CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { epochMillis } from '../../record/mappings/facts.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import { classifyHttp } from '../shared/classify.ts';
import { encodeLines, recordBytesFor } from '../shared/encode.ts';
import { rawField, textAt, textField, topLevel } from '../shared/fields.ts';
import type { SinkHost } from '../shared/host.ts';
import { HttpClient } from '../shared/http.ts';
import { httpShape, httpUrl } from '../shared/http-options.ts';
import { withoutLarge } from '../shared/too-large.ts';

const SITES = [
  'datadoghq.com',
  'us3.datadoghq.com',
  'us5.datadoghq.com',
  'datadoghq.eu',
  'ap1.datadoghq.com',
  'ap2.datadoghq.com',
  'ddog-gov.com',
] as const;

/** Options of the `datadog` sink. */
export const datadogOptions = z
  .strictObject({
    type: z.literal('datadog'),
    api_key: z.string().min(1).meta({ description: 'API key.', example: '${DD_API_KEY}' }),
    site: z.enum(SITES).default('datadoghq.com').meta({ description: 'Datadog site.', example: 'datadoghq.eu' }),
    url: httpUrl.optional().meta({
      description: 'Intake instead of the site’s, for a proxy or the Agent.',
      example: 'https://dd-proxy.example.com',
    }),
    source: z.string().default('changetrail').meta({
      description: '`ddsource`; the pipeline in integrations/datadog knows the default.',
      example: 'changetrail',
    }),
    service: z
      .string()
      .optional()
      .meta({ description: '`service`; default: the record’s source.', example: 'shop-db' }),
    host: z.string().optional().meta({ description: '`hostname`.', example: 'db-1' }),
    tags: z
      .array(z.string())
      .default([])
      .meta({ description: '`ddtags`.', example: ['env:prod', 'team:platform'] }),
    format: formatOption,
    ...deliveryShape,
    ...httpShape,
  })
  .meta({
    description:
      'Datadog Logs. Datadog keeps no log under a time more than 18 hours back: an older record gets the time it is sent, its own time stays in the attribute `time`.',
  });

type Options = z.infer<typeof datadogOptions>;

/** @see https://docs.datadoghq.com/api/latest/logs/#send-logs */
const MAX_ENTRIES = 1_000;
const MAX_BODY_BYTES = 5_000_000;
const MAX_ENTRY_BYTES = 1_000_000;
const OLDEST_MS = 18 * 3_600_000;
/** Room between Datadog's clock and this one, and for the time on the way. */
const SLACK_MS = 15 * 60_000;

const STATUS: Readonly<Record<string, string>> = {
  success: 'info',
  failure: 'error',
  denied: 'warning',
  unknown: 'notice',
};

/** @throws AUD_SINK_OPTIONS */
export function createDatadogSink(options: Options, host: SinkHost): Sink {
  return new DatadogSink(options, host);
}

class DatadogSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #client: HttpClient;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: MAX_ENTRIES,
      // The record's text stands quoted in its entry, which lengthens it by about a fifth.
      maxBatchBytes: recordBytesFor(3_500_000, options.format),
      maxRecordBytes: 800_000,
      maxAgeMs: 1_000,
      maxInFlight: 4,
      maxRecordAgeMs: OLDEST_MS,
    };
    const url = options.url ?? `https://http-intake.logs.${options.site}`;
    this.#client = new HttpClient(url, options, host, {
      'content-type': 'application/json',
      'dd-api-key': options.api_key,
    });
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`Logs intake at ${this.#client.origin}`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const entries = this.#entries(batch);
    return withoutLarge(entries, MAX_ENTRY_BYTES, async (kept) => {
      const body = joined(kept);
      if (body.length > MAX_BODY_BYTES) return { outcome: 'too_large' };
      const answer = await this.#client.request({ method: 'POST', path: '/api/v2/logs', body }, signal);
      return classifyHttp(answer, this.#host.now());
    });
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #entries(batch: RecordBatch): Buffer[] {
    const lines = encodeLines(batch, this.#options.format);
    const entries: Buffer[] = [];
    for (let i = 0; i < batch.count; i++) entries.push(this.#entry(textAt(batch, i), textAt(lines, i)));
    return entries;
  }

  /** Datadog takes a message that is JSON apart into attributes. */
  #entry(record: Buffer, text: Buffer): Buffer {
    const { source, host, tags, service } = this.#options;
    // As the Agent sends it. Datadog keeps milliseconds; the microseconds stay in the message's own `time`.
    const timestamp = epochMillis(rawField(record, 'time'));
    return Buffer.from(
      JSON.stringify({
        ddsource: source,
        ...(tags.length === 0 ? {} : { ddtags: tags.join(',') }),
        ...(host === undefined ? {} : { hostname: host }),
        service: service ?? textField(record, 'name', 'changetrail'),
        status: statusOf(record),
        ...(timestamp < this.#host.now() - OLDEST_MS + SLACK_MS ? {} : { timestamp }),
        message: text.toString('utf8'),
      }),
    );
  }
}

function statusOf(record: Buffer): string {
  const kind = rawField(record, 'kind');
  if (kind === 'gap' || kind === 'alert') return 'alert';
  return STATUS[String(topLevel(record, 'outcome'))] ?? 'info';
}

function joined(entries: readonly Buffer[]): Buffer {
  const parts = entries.flatMap((entry, i) => [i === 0 ? OPEN : COMMA, entry]);
  return Buffer.concat([...parts, CLOSE]);
}

const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']');
