import { createHash, createHmac } from 'node:crypto';
import { z } from 'zod';
import type { CheckReport } from '../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../core/sink.ts';
import { AuditError } from '../errors/audit-error.ts';
import { deliveryShape } from '../pipeline/delivery/options.ts';
import { formatOption } from '../record/mappings/index.ts';
import { checkItem, testBatch } from './shared/check.ts';
import { classifyHttp } from './shared/classify.ts';
import { encodeLines, jsonArray } from './shared/encode.ts';
import type { SinkHost } from './shared/host.ts';
import { HttpClient } from './shared/http.ts';
import { httpShape, httpUrl } from './shared/http-options.ts';

/** Options of the `http` sink. */
export const httpOptions = z
  .strictObject({
    type: z.literal('http'),
    url: httpUrl.meta({ description: 'Where records are posted to.', example: 'https://hooks.example.com/audit' }),
    body: z.enum(['array', 'object', 'ndjson']).default('array').meta({
      description: 'A request’s body: a JSON `array` of records, one record as an `object`, or `ndjson`, one a line.',
      example: 'ndjson',
    }),
    method: z.enum(['POST', 'PUT']).default('POST').meta({ description: 'The request’s method.', example: 'PUT' }),
    token: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Sent as `Authorization: Bearer …`.', example: '${AUDIT_HOOK_TOKEN}' }),
    signing_secret: z
      .string()
      .regex(/^(whsec_)?[A-Za-z0-9+/]+={0,2}$/)
      .optional()
      .meta({
        description: 'Base64 secret (`whsec_…`): requests are signed as Standard Webhooks says.',
        example: '${file:/run/secrets/webhook}',
      }),
    format: formatOption,
    ...deliveryShape,
    ...httpShape,
    compression: httpShape.compression
      .unwrap()
      .default('none')
      .meta({ description: 'Compression of requests. Many webhooks take none.', example: 'gzip' }),
    max_body_bytes: z
      .number()
      .int()
      .positive()
      .default(1 << 20)
      .meta({ description: 'Most bytes of records a request; also the largest record.', example: 262_144 }),
  })
  .meta({
    description:
      'Any web service: webhooks, collectors, functions. 2xx is the receiver’s word that it has the records.',
  });

type Options = z.infer<typeof httpOptions>;

const MEDIA_TYPES = { array: 'application/json', object: 'application/json', ndjson: 'application/x-ndjson' } as const;

/** @throws AUD_SINK_OPTIONS */
export function createHttpSink(options: Options, host: SinkHost): Sink {
  return new HttpSink(options, host);
}

class HttpSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #client: HttpClient;
  readonly #secret: Buffer | null;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: options.body === 'object' ? 1 : 1000,
      maxBatchBytes: options.max_body_bytes,
      maxRecordBytes: options.max_body_bytes - 2,
      maxAgeMs: 200,
      maxInFlight: 1,
    };
    this.#secret = options.signing_secret === undefined ? null : signingKey(options.signing_secret);
    this.#client = new HttpClient(options.url, options, host, {
      'content-type': MEDIA_TYPES[options.body],
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
    });
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`POST ${this.#client.origin}`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const body = this.#encode(batch);
    const answer = await this.#client.request(
      { method: this.#options.method, path: '', body, headers: this.#sign(body) },
      signal,
    );
    return classifyHttp(answer, this.#host.now());
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #encode(batch: RecordBatch): Buffer {
    const lines = encodeLines(batch, this.#options.format);
    if (this.#options.body === 'ndjson') return lines.bytes;
    return this.#options.body === 'array' ? jsonArray(lines) : lines.bytes.subarray(0, lines.bytes.length - 1);
  }

  #sign(body: Buffer): Record<string, string> {
    if (this.#secret === null) return {};
    return webhookHeaders(this.#secret, body, Math.floor(this.#host.now() / 1000));
  }
}

/**
 * The headers of Standard Webhooks. The id is made from the body, so that a request sent again has the id it had.
 * `seconds` since 1970. @see https://www.standardwebhooks.com
 */
export function webhookHeaders(secret: Buffer, body: Buffer, seconds: number): Record<string, string> {
  const id = `msg_${createHash('sha256').update(body).digest('base64url').slice(0, 27)}`;
  return {
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signWebhook(secret, id, seconds, body),
  };
}

/** The signature of a request with the given id; exported for its test. */
export function signWebhook(secret: Buffer, id: string, seconds: number, body: Buffer): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${seconds}.`).update(body).digest('base64')}`;
}

function signingKey(secret: string): Buffer {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  if (key.length >= 16) return key;
  throw new AuditError('AUD_SINK_OPTIONS', {
    message: 'signing_secret is too short: Standard Webhooks wants 24 to 64 bytes in base64.',
    action: 'Make one with: openssl rand -base64 32',
  });
}
