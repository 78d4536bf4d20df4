import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { CheckItem, CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import { encodeLines, recordBytesFor } from '../shared/encode.ts';
import { epochSeconds, rawField, textAt } from '../shared/fields.ts';
import type { SinkHost } from '../shared/host.ts';
import { HttpClient } from '../shared/http.ts';
import { httpShape, httpUrl } from '../shared/http-options.ts';
import { AckPoller } from './acks.ts';
import { ackIdOf, classifyHec } from './answer.ts';

/** Options of the `splunk_hec` sink. */
export const splunkHecOptions = z
  .strictObject({
    type: z.literal('splunk_hec'),
    url: httpUrl.meta({
      description: 'The HTTP Event Collector, without a path.',
      example: 'https://splunk.example.com:8088',
    }),
    token: z.string().min(1).meta({ description: 'The collector’s token.', example: '${SPLUNK_HEC_TOKEN}' }),
    index: z.string().optional().meta({ description: 'Index; default: the token’s.', example: 'audit' }),
    source: z.string().default('changetrail').meta({ description: 'Splunk’s `source`.', example: 'changetrail' }),
    sourcetype: z.string().default('changetrail:record').meta({
      description: 'Splunk’s `sourcetype`; the app in integrations/splunk knows the default.',
      example: '_json',
    }),
    host: z.string().optional().meta({ description: 'Splunk’s `host`.', example: 'db-1' }),
    acknowledge: z.boolean().default(false).meta({
      description:
        'Wait until the indexers have written the events (the token needs indexer acknowledgement). Without it a 200 means only that Splunk has them in memory.',
      example: true,
    }),
    acknowledge_timeout_ms: z.number().int().positive().default(300_000).meta({
      description: 'Events not acknowledged after this time are sent again, in milliseconds.',
      example: 60_000,
    }),
    format: formatOption,
    ...deliveryShape,
    ...httpShape,
  })
  .meta({
    description:
      'Splunk through its HTTP Event Collector. Splunk keeps copies: search with `| dedup id` where a resend could count twice.',
  });

type Options = z.infer<typeof splunkHecOptions>;

const UNACKNOWLEDGED: CheckItem = {
  name: 'acknowledgement',
  level: 'warning',
  detail: 'Without indexer acknowledgement an answer means only that Splunk has the events in memory.',
  fix: 'Set acknowledge: true, with a token that has indexer acknowledgement.',
};

/** Splunk Cloud takes 1 MB a request; what stands around an event is counted in. */
const MAX_BODY_BYTES = 1_000_000;
const ENVELOPE_BYTES = 1_000;

/** @throws AUD_SINK_OPTIONS */
export function createSplunkHecSink(options: Options, host: SinkHost): Sink {
  return new SplunkHecSink(options, host);
}

class SplunkHecSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: Options;
  readonly #host: SinkHost;
  readonly #client: HttpClient;
  readonly #acks: AckPoller | null;
  readonly #envelope: string;

  constructor(options: Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 5_000,
      // A fifth for what stands around each event.
      maxBatchBytes: recordBytesFor(MAX_BODY_BYTES * 0.8, options.format),
      maxRecordBytes: MAX_BODY_BYTES - ENVELOPE_BYTES,
      maxAgeMs: 500,
      // An acknowledgement takes seconds: more requests on the way keep the throughput. Splunk orders by time anyway.
      maxInFlight: options.acknowledge ? 16 : 2,
    };
    const channel = randomUUID();
    this.#client = new HttpClient(options.url, options, host, {
      'content-type': 'application/json',
      authorization: `Splunk ${options.token}`,
      ...(options.acknowledge ? { 'x-splunk-request-channel': channel } : {}),
    });
    this.#acks = options.acknowledge ? new AckPoller(this.#client, channel, options.acknowledge_timeout_ms) : null;
    const { index, source, sourcetype, host: splunkHost } = options;
    this.#envelope = JSON.stringify({ host: splunkHost, index, source, sourcetype }).slice(1, -1);
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    const items = [checkItem(`HEC at ${this.#client.origin}`, answer)];
    if (this.#acks === null) items.push(UNACKNOWLEDGED);
    return { items };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const body = this.#encode(batch);
    if (body.length > MAX_BODY_BYTES) return { outcome: 'too_large' };
    const answer = await this.#client.request({ method: 'POST', path: '/services/collector/event', body }, signal);
    const delivery = classifyHec(answer, batch.count, this.#host.now());
    if (delivery.outcome !== 'accepted' || this.#acks === null) return delivery;
    const ackId = ackIdOf(answer);
    if (ackId === null) return { outcome: 'unavailable', reason: 'Splunk sent no acknowledgement id' };
    if (await this.#acks.acknowledged(ackId, signal)) return delivery;
    return { outcome: 'unavailable', reason: 'the indexers did not acknowledge in time' };
  }

  async close(): Promise<void> {
    this.#acks?.close();
    this.#client.close();
  }

  #encode(batch: RecordBatch): Buffer {
    const lines = encodeLines(batch, this.#options.format);
    const parts: Buffer[] = [];
    for (let i = 0; i < batch.count; i++) {
      const time = epochSeconds(rawField(textAt(batch, i), 'time'));
      parts.push(Buffer.from(`{"time":${time},${this.#envelope},"event":`), textAt(lines, i), END);
    }
    return Buffer.concat(parts);
  }
}

const END = Buffer.from('}\n');
