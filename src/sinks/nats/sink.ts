import { type JetStreamClient, jetstream } from '@nats-io/jetstream';
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  headers,
  type NatsConnection,
  nkeyAuthenticator,
} from '@nats-io/transport-node';
import type { CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import type { SinkHost } from '../shared/host.ts';
import { tlsConnection } from '../shared/tls.ts';
import { classifyNatsError, type NatsFailure, natsDelivery } from './classify.ts';
import { type NatsMessage, natsEncoder } from './encode.ts';
import type { NatsOptions } from './options.ts';

/** Room for the headers in a message. */
const HEADER_BYTES = 1024;
const CONNECTION_LOST: NatsFailure = { what: 'retry', reason: 'the connection was lost', lost: true };

/** @throws AUD_SINK_OPTIONS */
export function createNatsSink(options: NatsOptions, host: SinkHost): Sink {
  return new NatsSink(options, host);
}

class NatsSink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: NatsOptions;
  readonly #host: SinkHost;
  readonly #connectionOptions: ConnectionOptions;
  readonly #encode: (batch: RecordBatch) => NatsMessage[];
  #connection: NatsConnection | null = null;

  constructor(options: NatsOptions, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 1000,
      maxBatchBytes: 4 << 20,
      maxRecordBytes: Math.max(1, options.max_message_bytes - HEADER_BYTES),
      maxAgeMs: 50,
      maxInFlight: 1,
    };
    this.#connectionOptions = connectionOptions(options, host);
    this.#encode = natsEncoder(options);
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const answer = await this.deliver(testBatch(this.#host), signal);
    return { items: [checkItem(`publish to ${this.#options.servers.length} NATS server(s)`, answer)] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    // Pending publishes end with their connection.
    const abort = () => void this.#drop();
    signal.addEventListener('abort', abort, { once: true });
    try {
      const js = await this.#open(signal);
      const failures = await this.#publish(js, this.#encode(batch));
      if ([...failures.values()].some(({ lost }) => lost)) await this.#drop();
      return natsDelivery(batch.count, failures);
    } catch (error) {
      await this.#drop();
      return { outcome: 'unavailable', reason: classifyNatsError(error).reason };
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async close(): Promise<void> {
    await this.#drop();
  }

  async #open(signal: AbortSignal): Promise<JetStreamClient> {
    if (this.#connection === null || this.#connection.isClosed()) this.#connection = await this.#connect(signal);
    return jetstream(this.#connection, { timeout: this.#options.timeout_ms });
  }

  async #connect(signal: AbortSignal): Promise<NatsConnection> {
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    const connecting = connect(this.#connectionOptions);
    // A connection that comes about after the abort is closed again.
    connecting.then(
      (late) => signal.aborted && void late.close(),
      () => undefined,
    );
    try {
      return await Promise.race([connecting, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** Sends all messages one behind the other, then waits for all acknowledgements; the failures by place. */
  async #publish(js: JetStreamClient, messages: readonly NatsMessage[]): Promise<Map<number, NatsFailure>> {
    const connection = this.#connection!;
    const { stream } = this.#options;
    // A connection that ends must end the wait too: what was not acknowledged by then is sent again.
    const closed = connection.closed().then(() => CONNECTION_LOST);
    const answers = await Promise.all(
      messages.map(({ subject, id, index, kind, payload }) => {
        const head = headers();
        head.set('Changetrail-Index', String(index));
        head.set('Changetrail-Kind', kind);
        const expect = stream === undefined ? {} : { streamName: stream };
        const answer = js.publish(subject, payload, { msgID: id, headers: head, expect }).then(
          () => null,
          (error: unknown) => classifyNatsError(error),
        );
        return Promise.race([answer, closed]);
      }),
    );
    const failures = new Map<number, NatsFailure>();
    for (const [at, failure] of answers.entries()) if (failure !== null) failures.set(at, failure);
    return failures;
  }

  async #drop(): Promise<void> {
    const connection = this.#connection;
    this.#connection = null;
    await connection?.close();
  }
}

function connectionOptions(options: NatsOptions, host: SinkHost): ConnectionOptions {
  const { servers, user, password, token, nkey_seed, credentials, tls, timeout_ms } = options;
  const utf8 = new TextEncoder();
  return {
    servers: [...servers],
    name: `changetrail ${host.name}`,
    timeout: timeout_ms,
    // Delivery tries again by itself, with waits of its own.
    reconnect: false,
    pingInterval: Math.max(1000, timeout_ms),
    maxPingOut: 1,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { pass: password }),
    ...(token === undefined ? {} : { token }),
    ...(nkey_seed === undefined ? {} : { authenticator: nkeyAuthenticator(utf8.encode(nkey_seed.trim())) }),
    ...(credentials === undefined ? {} : { authenticator: credsAuthenticator(utf8.encode(credentials)) }),
    // The transport hands these to node:tls as they are.
    ...(tls === undefined ? {} : { tls: tlsConnection(tls, host) as unknown as NonNullable<ConnectionOptions['tls']> }),
  };
}
