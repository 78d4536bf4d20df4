// What the stream does with replies that come, or fail to come, while the one before is still being written.
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, type Document, Long, type MongoClient, MongoNetworkError, MongoServerError, Timestamp } from 'mongodb';
import { expect, test } from 'vitest';
import type { Attribution } from '../../../connectors/mongodb/attribution.ts';
import type { Deployment } from '../../../connectors/mongodb/client.ts';
import { ImageState } from '../../../connectors/mongodb/image-state.ts';
import { Namespaces } from '../../../connectors/mongodb/namespaces.ts';
import { collectionMatcher } from '../../../connectors/mongodb/patterns.ts';
import { MongoStream, type MongoStreamOptions } from '../../../connectors/mongodb/stream.ts';
import { ActorMetrics } from '../../../src/actor/metrics.ts';
import { createActorStage } from '../../../src/actor/stage.ts';
import type { SourceHost } from '../../../src/core/connector.ts';
import type { Position } from '../../../src/core/output.ts';
import { memoryLog } from '../../support/memory-log.ts';

const OPEN = 7;
const token = (seconds: number) => ({ _data: `82${seconds.toString(16).padStart(8, '0')}000000012B0229296E04` });

/** The server's word that a database is gone, after which it closes the cursor. */
const invalidate = (seconds: number) => ({
  _id: token(seconds),
  operationType: 'invalidate',
  clusterTime: new Timestamp({ t: seconds, i: 1 }),
});

/** A reply as the driver gives it: its cursor in raw bytes. */
const reply = (id: number, seconds: number, field: 'firstBatch' | 'nextBatch', events: Document[] = []): Document => ({
  cursor: Buffer.from(
    BSON.serialize({ id: Long.fromNumber(id), [field]: events, postBatchResumeToken: token(seconds) }),
  ),
});

/** A stream whose every batch takes a while to write, on a server that answers as told. Gives its places, where it was opened and its gaps. */
function newStream(
  answer: (command: Document, opened: number) => Promise<Document>,
  more: Partial<MongoStreamOptions> = {},
) {
  const places: Position[] = [];
  const starts: Document[] = [];
  const command = (asked: Document) => {
    if (asked['killCursors']) return Promise.resolve({});
    if (asked['aggregate']) starts.push(asked['pipeline'][0].$changeStream);
    return answer(asked, starts.length);
  };
  const session = { endSession: async () => undefined };
  const client = { db: () => ({ command }), startSession: () => session } as unknown as MongoClient;
  const gaps: unknown[] = [];
  const output = {
    full: false,
    reached: (p: Position) => places.push(p),
    idle: (p: Position) => places.push(p),
    control: (record: unknown) => gaps.push(record),
  };
  const actors = createActorStage({ source: 'docs', metrics: new ActorMetrics() });
  const metrics = { changes: 0, transactions: 0, bytes: 0, lagMs: 0, state: 'streaming', lastError: null };
  const host = { name: 'docs', log: memoryLog().log, output, actors, now: () => 0, metrics } as unknown as SourceHost;
  const matcher = collectionMatcher(['shop.*']);
  const images = new ImageState();
  const attribution = { refresh: () => sleep(20), prepare: async () => undefined, isWorthAsking: () => false };
  const stream = new MongoStream({
    client,
    host,
    deployment: { splitsLargeEvents: false } as Deployment,
    start: { time: { seconds: 1, increment: 1 }, held: null, proof: null },
    database: 'shop',
    matcher,
    contextCollection: '_changetrail_context',
    batchSize: 10,
    namespaces: new Namespaces({ matcher, contextCollection: '', actors, imagesOn: () => false }),
    images,
    attribution: attribution as unknown as Attribution,
    setup: null,
    suspicious: false,
    onLost: () => undefined,
    onClosed: () => undefined,
    remember: () => undefined,
    ...more,
  });
  return { stream, places, starts, gaps };
}

test('a connection that is lost while a batch is written ends the stream, and not the process', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  try {
    const { stream, places } = newStream(async ({ aggregate }) => {
      if (aggregate) return reply(OPEN, 5, 'firstBatch');
      throw new MongoNetworkError('connection closed');
    });
    const run = stream.run(new AbortController().signal);
    await expect(run).rejects.toMatchObject({ code: 'AUD_MONGO_CONNECT', retry: 'soon' });
    expect(places).toHaveLength(1);
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
  }
});

test('a cursor that is closed while an empty batch is written still gives its last events; the stream goes on behind them', async () => {
  const end = new AbortController();
  const { stream, starts } = newStream(async ({ aggregate }, opened) => {
    if (opened > 1) {
      end.abort();
      return reply(OPEN, 9, 'firstBatch');
    }
    return aggregate ? reply(OPEN, 5, 'firstBatch') : reply(0, 6, 'nextBatch', [invalidate(6)]);
  });
  await stream.run(end.signal);
  expect(starts).toMatchObject([{ startAtOperationTime: expect.anything() }, { startAfter: token(6) }]);
});

test('a stream that looks for the event that closes the connection goes back to whole replies, however steady the load', async () => {
  const end = new AbortController();
  const sizes: number[] = [];
  let seconds = 4;
  const answer = async ({ aggregate, cursor }: Document) => {
    seconds++;
    if (!aggregate) return reply(OPEN, seconds, 'nextBatch', [invalidate(seconds)]);
    sizes.push(cursor.batchSize);
    // The reply that was not delivered had three events at most: behind the fourth the search is over.
    if (sizes.length > 1) end.abort();
    return reply(OPEN, seconds, 'firstBatch', [invalidate(seconds)]);
  };
  const { stream, starts } = newStream(answer, { suspicious: true, batchSize: 3 });
  await stream.run(AbortSignal.any([end.signal, AbortSignal.timeout(5_000)]));
  expect(sizes).toEqual([1, 3]);
  expect(starts[1]).toMatchObject({ startAfter: token(8) });
});

test.each([
  new MongoServerError({ code: 10334, errmsg: 'BSONObj size is invalid' }),
  new MongoServerError({ code: 136, errmsg: 'CollectionScan died' }),
  new MongoNetworkError('connection closed'),
])('what the query for the writers meets with says nothing of the stream: %s', async (error) => {
  const lost: string[] = [];
  const attribution = { refresh: async () => undefined, prepare: () => Promise.reject(error) };
  const { stream, starts } = newStream(async () => reply(OPEN, 5, 'firstBatch', [invalidate(5)]), {
    suspicious: true,
    attribution: attribution as unknown as Attribution,
    onLost: (cause) => lost.push(cause),
  });
  await expect(stream.run(new AbortController().signal)).rejects.toMatchObject({ retry: 'soon' });
  expect(starts).toHaveLength(1);
  expect(lost).toEqual([]);
});

const isPassing = (command: Document) => JSON.stringify(command['pipeline']).includes('$strLenBytes');

test.each([
  ['for a while, as an outage does', 3, 0],
  ['each time but where large keys are left out', Number.POSITIVE_INFINITY, 1],
])('a server that closes the connection %s', async (_how, closings, expected) => {
  const end = new AbortController();
  let passed = 0;
  const answer = async (command: Document, opened: number) => {
    if (!command['aggregate']) return reply(OPEN, 8, 'nextBatch');
    if (isPassing(command)) passed++;
    else if (passed > 1 || opened > closings + 1) end.abort();
    else throw new MongoNetworkError('connection closed');
    return reply(OPEN, 6, 'firstBatch', [invalidate(6)]);
  };
  const { stream, gaps } = newStream(answer, { suspicious: true });
  await stream.run(end.signal);
  expect(gaps).toMatchObject(
    Array(expected).fill({ kind: 'gap', details: { cause: 'event_undeliverable', from: '1.1', to: '6.1' } }),
  );
  expect(gaps).toHaveLength(expected);
});
