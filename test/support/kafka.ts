import { randomUUID } from 'node:crypto';
import { Consumer } from '@platformatic/kafka';
import { kafkaOptions } from '../../src/sinks/kafka/options.ts';
import { createKafkaSink } from '../../src/sinks/kafka/sink.ts';
import type { SinkReceiver } from '../conformance/sink-suite.ts';
import { KafkaAdvertiser } from './kafka-advertiser.ts';
import { memoryLog } from './memory-log.ts';
import { Receiver } from './receivers.ts';

export const TOPIC = 'audit';

export const sinkTo = (port: number, more: object = {}) =>
  createKafkaSink(
    kafkaOptions.parse({ type: 'kafka', brokers: [`127.0.0.1:${port}`], topic: TOPIC, timeout_ms: 20_000, ...more }),
    { name: 'kafka', log: memoryLog().log, now: Date.now },
  );

/** A message as a consumer sees it. */
export interface Message {
  readonly partition: number;
  readonly key: string;
  readonly value: string;
  readonly timestamp: bigint;
  readonly headers: Readonly<Record<string, string>>;
}

/** A consumer that reads the topic from its beginning for as long as it is open. */
export async function consume(port: number): Promise<{ messages: Message[] } & AsyncDisposable> {
  const messages: Message[] = [];
  const consumer = new Consumer({
    groupId: randomUUID(),
    clientId: 'test',
    bootstrapBrokers: [`127.0.0.1:${port}`],
    retries: 1000,
    retryDelay: 200,
  });
  const stream = await consumer.consume({ topics: [TOPIC], mode: 'earliest', maxWaitTime: 100, autocommit: false });
  stream.on('error', () => undefined);
  stream.on('data', ({ partition, key, value, timestamp, headers }) => {
    const texts = [...(headers as Map<Buffer, Buffer>)].map(([name, text]) => [name.toString(), text.toString()]);
    const fields = Object.fromEntries(texts) as Record<string, string>;
    messages.push({ partition, key: key.toString(), value: value.toString(), timestamp, headers: fields });
  });
  return {
    messages,
    async [Symbol.asyncDispose]() {
      await stream.close().catch(() => undefined);
      await consumer.close(true).catch(() => undefined);
    },
  };
}

/** kfake, a light broker in memory; it cannot be restarted with its data and knows no credentials. */
export async function startLight(): Promise<SinkReceiver & { messages: Message[] }> {
  const broker = await Receiver.start('kfake', { args: [TOPIC, '3'] });
  const advertiser = await KafkaAdvertiser.start(broker.port);
  const reader = await consume(broker.port);
  return {
    port: advertiser.port,
    messages: reader.messages,
    sink(port) {
      advertiser.advertised = port;
      return sinkTo(port, port === advertiser.port ? {} : { timeout_ms: 1500 });
    },
    ids: async () => reader.messages.map(({ headers }) => headers['id'] ?? ''),
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]();
      await advertiser[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}
