import { ProduceAcks, Producer, type ProducerOptions } from '@platformatic/kafka';
import type { CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import type { SinkHost } from '../shared/host.ts';
import { tlsConnection } from '../shared/tls.ts';
import { classifyKafkaError } from './classify.ts';
import { kafkaMessages } from './encode.ts';
import type { KafkaOptions } from './options.ts';

/** Room in a message for key, headers and framing. */
const OVERHEAD_BYTES = 2048;

type BytesProducer = Producer<Buffer, Buffer, Buffer, Buffer>;

/** @throws AUD_SINK_OPTIONS */
export function createKafkaSink(options: KafkaOptions, host: SinkHost): Sink {
  return new KafkaSink(options, host);
}

class KafkaSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: KafkaOptions;
  readonly #host: SinkHost;
  readonly #producerOptions: ProducerOptions<Buffer, Buffer, Buffer, Buffer>;
  #producer: BytesProducer | null = null;

  constructor(options: KafkaOptions, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 5000,
      // A batch can be all of one row, so of one partition: then it is one batch of Kafka's too.
      maxBatchBytes: options.max_message_bytes,
      maxRecordBytes: options.max_message_bytes - OVERHEAD_BYTES,
      maxAgeMs: 50,
      // One at a time: a send that failed and is repeated must not arrive behind a later one.
      maxInFlight: 1,
    };
    this.#producerOptions = producerOptions(options, host);
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`produce to topic ${this.#options.topic}`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const { topic, format } = this.#options;
    const messages = kafkaMessages(batch, topic, format);
    signal.throwIfAborted();
    this.#producer ??= new Producer(this.#producerOptions);
    const sent = this.#producer.send({ messages });
    // The client knows neither signals nor a time for all of its tries together: its sends are left behind, not stopped.
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(this.#options.timeout_ms)]);
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(deadline.reason);
    deadline.addEventListener('abort', leave, { once: true });
    try {
      await Promise.race([sent, left.promise]);
      return { outcome: 'accepted' };
    } catch (error) {
      // A producer that failed may have lost its place in the sequence; a new one starts a new sequence.
      this.#drop();
      signal.throwIfAborted();
      return deadline.aborted ? { outcome: 'unavailable', reason: 'no answer in time' } : classifyKafkaError(error);
    } finally {
      deadline.removeEventListener('abort', leave);
    }
  }

  async close(): Promise<void> {
    this.#drop();
  }

  /** Does not wait: a connection that hangs must not hold the next try up. */
  #drop(): void {
    const producer = this.#producer;
    this.#producer = null;
    // Nothing is lost with it: what was not acknowledged is sent again.
    producer?.close(true).catch(() => undefined);
  }
}

function producerOptions(options: KafkaOptions, host: SinkHost): ProducerOptions<Buffer, Buffer, Buffer, Buffer> {
  const { brokers, sasl, tls, compression, timeout_ms } = options;
  return {
    clientId: `changetrail-${host.name}`,
    bootstrapBrokers: [...brokers],
    idempotent: true,
    acks: ProduceAcks.ALL,
    compression,
    autocreateTopics: false,
    // Within these the broker drops, by sequence number, what it has when only an acknowledgement was lost. Fewer than
    // two mean "for ever" to the client.
    retries: 2,
    retryDelay: 100,
    timeout: timeout_ms,
    connectTimeout: timeout_ms,
    requestTimeout: timeout_ms,
    ...(sasl === undefined ? {} : { sasl }),
    ...(tls === undefined
      ? {}
      : { tls: tlsConnection(tls, host), ...(tls.server_name === undefined ? { tlsServerName: true } : {}) }),
  };
}
