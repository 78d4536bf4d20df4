import { Admin, MultipleErrors, ProtocolError } from '@platformatic/kafka';
import { describe, expect, test } from 'vitest';
import { classifyKafkaError } from '../../src/sinks/kafka/classify.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { consume, sinkTo, startLight, TOPIC } from '../support/kafka.ts';
import { KafkaAdvertiser } from '../support/kafka-advertiser.ts';
import { freePort } from '../support/ports.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { sampleLines, sampleRecords } from '../support/sample-records.ts';
import { until } from '../support/wait.ts';

/** Three ports in a row: broker, controller, SASL_SSL. */
async function threePorts(): Promise<number> {
  return (await freePort()) - 2;
}

async function createTopic(port: number): Promise<void> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: [`127.0.0.1:${port}`] });
  await admin.createTopics({ topics: [TOPIC], partitions: 3, replicas: 1 });
  await admin.close();
}

/** Apache Kafka; the sink comes by SASL_SSL, the test's consumer by the plain port. */
async function startKafka(): Promise<SinkReceiver> {
  const broker = await Receiver.start('kafka', {}, await threePorts());
  await createTopic(broker.port);
  const advertiser = await KafkaAdvertiser.start(broker.port);
  const reader = await consume(broker.port);
  const secure = (password: string) => ({
    brokers: [`localhost:${broker.port + 2}`],
    sasl: { mechanism: 'SCRAM-SHA-512', username: 'audit', password },
    tls: { ca: broker.path('pki', 'ca.crt') },
  });
  return {
    port: advertiser.port,
    sink(port) {
      advertiser.advertised = port;
      return port === advertiser.port ? sinkTo(port, secure('auditsecret')) : sinkTo(port, { timeout_ms: 1500 });
    },
    ids: async () => reader.messages.map(({ headers }) => headers['id'] ?? ''),
    restart: (whileDown) => broker.restart(whileDown),
    badCredentials: (port) => sinkTo(port, secure('wrong')),
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]();
      await advertiser[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

await sinkConformance({ name: 'kafka (kfake)', order: 'none', duplicates: 'kept', needs: 'kfake', start: startLight });

// A JVM of 400 MB and minutes of restarts: only on request.
await sinkConformance({
  name: 'kafka (Apache Kafka, SASL_SSL)',
  order: 'none',
  duplicates: 'kept',
  heavy: true,
  needs: 'kafka',
  start: startKafka,
});

describe.skipIf(await receiverMissing('kfake'))('kafka messages', () => {
  test('have the row as key, the line as value, id, kind and index as headers, the record’s time', async () => {
    await using broker = await startLight();
    const sink = broker.sink(broker.port);
    const lines = sampleLines();
    expect(await sink.deliver(batchOf(lines), AbortSignal.timeout(20_000))).toEqual({ outcome: 'accepted' });
    await sink.close();
    await until(() => broker.messages.length === lines.length, { what: 'all messages' });
    const values = broker.messages.map(({ value }) => value);
    expect(values.toSorted()).toEqual(lines.toSorted());
    const records = sampleRecords();
    for (const { id, kind, index } of records) {
      const found = broker.messages.find(({ headers }) => headers['id'] === id);
      expect(found?.headers).toEqual({ id, kind, index: String(index) });
    }
    const insert = broker.messages.find(({ headers }) => headers['id'] === 'shop:0/1A2B3C8:0');
    expect(insert).toMatchObject({ key: 'shop/public.users/{"id":42}', timestamp: 1795514400123n });
  });

  test('of one row stand in one partition, in the order of the ledger', async () => {
    await using broker = await startLight();
    const sink = broker.sink(broker.port);
    const [line] = sampleLines() as [string];
    const lines = Array.from({ length: 300 }, (_, n) => {
      const record = JSON.parse(line);
      return JSON.stringify({ ...record, index: n, id: `r:${n}`, object: { ...record.object, key: { id: n % 7 } } });
    });
    for (let at = 0; at < lines.length; at += 100) {
      const answer = await sink.deliver(batchOf(lines.slice(at, at + 100)), AbortSignal.timeout(20_000));
      expect(answer).toEqual({ outcome: 'accepted' });
    }
    await sink.close();
    await until(() => broker.messages.length === lines.length, { what: 'all messages' });
    expect(new Set(broker.messages.map(({ partition }) => partition)).size).toBeGreaterThan(1);
    for (const [key, ofRow] of Map.groupBy(broker.messages, (message) => message.key)) {
      expect(new Set(ofRow.map(({ partition }) => partition)).size, key).toBe(1);
      const order = ofRow.map(({ headers }) => Number(headers['index']));
      expect(order).toEqual(order.toSorted((a, b) => a - b));
    }
  });

  test.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'])('arrive with compression %s', async (compression) => {
    await using broker = await startLight();
    const sink = sinkTo(broker.port, { compression, format: 'debezium' });
    const answer = await sink.deliver(batchOf(sampleLines()), AbortSignal.timeout(20_000));
    expect(answer).toEqual({ outcome: 'accepted' });
    await sink.close();
    await until(() => broker.messages.length === sampleLines().length, { what: 'all messages' });
    expect(broker.messages.some(({ value }) => JSON.parse(value).op === 'u')).toBe(true);
  });

  test('wait for a topic that is not there', async () => {
    await using broker = await startLight();
    const sink = sinkTo(broker.port, { topic: 'missing' });
    const answer = await sink.deliver(batchOf(sampleLines()), AbortSignal.timeout(20_000));
    await sink.close();
    expect(answer).toEqual({ outcome: 'unavailable', reason: 'the topic does not exist' });
  });
});

describe('kafka errors', () => {
  const protocol = (id: number) => new MultipleErrors('Producing messages failed.', [new ProtocolError(id)]);

  test.each([
    [10, { outcome: 'too_large' }],
    [87, { outcome: 'rejected', reason: 'INVALID_RECORD' }],
    [3, { outcome: 'unavailable', reason: 'the topic does not exist' }],
    [19, { outcome: 'unavailable', reason: 'too few replicas are in sync' }],
    [29, { outcome: 'unavailable', reason: 'the user may not write to the topic' }],
    [58, { outcome: 'unavailable', reason: 'the credentials are refused' }],
    [7, { outcome: 'unavailable', reason: 'REQUEST_TIMED_OUT' }],
  ])('code %i', (code, answer) => {
    expect(classifyKafkaError(protocol(code))).toEqual(answer);
  });

  test('of the network say what the system said', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    const error = new MultipleErrors('Cannot connect to any broker.', [refused]);
    expect(classifyKafkaError(error)).toEqual({ outcome: 'unavailable', reason: 'ECONNREFUSED' });
    expect(classifyKafkaError('odd')).toEqual({ outcome: 'unavailable', reason: 'odd' });
  });
});
