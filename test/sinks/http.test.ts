import { describe, expect, test } from 'vitest';
import { createHttpSink, httpOptions, signWebhook, webhookHeaders } from '../../src/sinks/http.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { HttpReceiver } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';

const TOKEN = 'a-bearer-token';

/** A webhook that keeps ids, refuses a wrong token and any record whose outcome is `unknown`. */
async function startWebhook(body: 'array' | 'object' | 'ndjson'): Promise<SinkReceiver> {
  const ids: string[] = [];
  const server = await HttpReceiver.start((request) => {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return { status: 401 };
    const text = request.body.toString('utf8');
    const records = (
      body === 'ndjson'
        ? text
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line))
        : [JSON.parse(text)].flat()
    ) as { id: string; outcome: string }[];
    if (text.length > 1 << 20) return { status: 413 };
    if (records.some((record) => record.outcome === 'unknown')) return { status: 422 };
    ids.push(...records.map((record) => record.id));
    return { status: 204, body: '' };
  });
  const sink = (port: number, token: string) =>
    createHttpSink(
      httpOptions.parse({
        type: 'http',
        url: `http://127.0.0.1:${port}/hook`,
        body,
        token,
        timeout_ms: 1000,
        batch_wait_ms: 5,
      }),
      { name: 'hook', log: memoryLog().log, now: Date.now },
    );
  return {
    port: server.port,
    sink: (port) => sink(port, TOKEN),
    ids: async () => [...ids],
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sink(port, 'wrong'),
    poison: (record) => ({ ...record, outcome: 'unknown' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

for (const body of ['array', 'object', 'ndjson'] as const) {
  await sinkConformance({
    name: `http ${body}`,
    http: true,
    order: 'ledger',
    duplicates: 'kept',
    ...(body === 'object' ? { backlog: 1000 } : {}),
    start: () => startWebhook(body),
  });
}

describe('Standard Webhooks signatures', () => {
  const secret = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
  const body = Buffer.from('{"test": 2432232314}');

  test('are those of the specification’s libraries', () => {
    expect(signWebhook(secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, body)).toBe(
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });

  test('have the same id when a request is sent again', () => {
    const [first, again] = [webhookHeaders(secret, body, 1614265330), webhookHeaders(secret, body, 1614269999)];
    expect(again['webhook-id']).toBe(first['webhook-id']);
    expect(again['webhook-signature']).not.toBe(first['webhook-signature']);
  });
});
