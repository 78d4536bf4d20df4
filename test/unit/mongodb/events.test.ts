import { Binary, BSON, type Document, Long, Timestamp } from 'mongodb';
import { expect, test } from 'vitest';
import type { Attribution } from '../../../connectors/mongodb/attribution.ts';
import { EventSink } from '../../../connectors/mongodb/event-sink.ts';
import { EventView } from '../../../connectors/mongodb/events.ts';
import { ImageState } from '../../../connectors/mongodb/image-state.ts';
import { Namespaces } from '../../../connectors/mongodb/namespaces.ts';
import { collectionMatcher } from '../../../connectors/mongodb/patterns.ts';
import type { HeldPlace } from '../../../connectors/mongodb/resume.ts';
import { SplitEvents } from '../../../connectors/mongodb/split-events.ts';
import { unattributed } from '../../../connectors/mongodb/user-names.ts';
import { ActorMetrics } from '../../../src/actor/metrics.ts';
import { createActorStage } from '../../../src/actor/stage.ts';
import type { SourceHost } from '../../../src/core/connector.ts';
import type { SourceOutput } from '../../../src/core/output.ts';
import { ByteWriter } from '../../../src/record/byte-writer.ts';
import { type AuditRecord, recordSchema } from '../../../src/record/schema.ts';
import { memoryLog } from '../../support/memory-log.ts';

/** Collects records as the ledger's output does, and checks each. */
class Collected implements SourceOutput {
  readonly records: AuditRecord[] = [];
  readonly full = false;
  readonly #out = new ByteWriter(1 << 16);
  begin(): ByteWriter {
    this.#out.pos = 0;
    this.#out.ascii(`{"v":1,"index":${this.records.length}`);
    return this.#out;
  }
  end(): void {
    const record = JSON.parse(this.#out.buf.toString('utf8', 0, this.#out.pos)) as AuditRecord;
    recordSchema.parse(record);
    this.records.push(record);
  }
  abort(): void {}
  reached(): void {}
  idle(): void {}
  async drained(): Promise<void> {}
  async settled(): Promise<void> {}
  control(): void {}
}

function newSink(held: HeldPlace | null = null) {
  const output = new Collected();
  const images = new ImageState();
  const actors = createActorStage({ source: 'docs', metrics: new ActorMetrics() });
  const metrics = { changes: 0, transactions: 0, bytes: 0, lagMs: 0, state: 'streaming', lastError: null };
  const host = {
    name: 'docs',
    log: memoryLog().log,
    output,
    actors,
    now: () => 0,
    remember: () => undefined,
    metrics,
  } as unknown as SourceHost;
  const namespaces = new Namespaces({
    matcher: collectionMatcher(['shop.*']),
    contextCollection: '_changetrail_context',
    actors,
    imagesOn: (d, c) => images.isOn(d, c),
  });
  const attribution = { fact: () => unattributed('not_attributable') } as unknown as Attribution;
  const sink = new EventSink({ host, namespaces, images, attribution, held });
  sink.beginBatch(0);
  const view = new EventView();
  const take = (event: Document) => {
    view.read(Buffer.from(BSON.serialize(event)), 0);
    sink.take(view);
  };
  return { sink, take, records: output.records };
}

const token = (seconds: number, index: number) => {
  const place = index === 0 ? '29' : `2B${(index * 2).toString(16).padStart(2, '0')}`;
  return { _data: `82${seconds.toString(16).padStart(8, '0')}000000012B042C0100${place}6E5A1004`.toUpperCase() };
};

/** An event as the server sends it, at `seconds`, the `index`th operation of its transaction. */
const event = (seconds: number, index: number, more: Document): Document => ({
  _id: token(seconds, index),
  operationType: 'insert',
  clusterTime: new Timestamp({ t: seconds, i: 1 }),
  wallTime: new Date(seconds * 1000),
  ns: { db: 'shop', coll: 'a' },
  ...more,
});

const insert = (seconds: number, index: number, n: number, more: Document = {}) =>
  event(seconds, index, { documentKey: { _id: n }, fullDocument: { _id: n }, ...more });
const keys = (records: readonly AuditRecord[]) => records.map((r) => (r.object.key as { _id: number })._id);

test('several inserts at one time that are no transaction (MongoDB 8.0) have ordinals and no tx', () => {
  const { take, records } = newSink();
  for (const n of [0, 1, 2]) take(insert(100, n, n));
  take(insert(101, 0, 3));
  expect(records.map((r) => r.id)).toEqual(['docs:100.1:0', 'docs:100.1:1', 'docs:100.1:2', 'docs:101.1:0']);
  expect(records.every((r) => r.source.tx === undefined)).toBe(true);
});

test('ordinals count what a filter left out', () => {
  const { take, records } = newSink();
  take(insert(100, 2, 0));
  take(insert(100, 5, 1, { ns: { db: 'other', coll: 'a' } }));
  take(insert(100, 9, 2));
  expect(records.map((r) => r.source.seq)).toEqual([2, 9]);
});

test('events of two shards at the same time have different ordinals', () => {
  const { take, records } = newSink();
  for (const n of [0, 1, 2]) take(insert(100, 0, n));
  expect(records.map((r) => r.source.seq)).toEqual([0, 1, 2]);
});

test('what the ledger holds is dropped by time and ordinal, and its context document still counts', () => {
  const held = { time: { seconds: 100, increment: 1 }, seq: 1, partOnly: false };
  const { take, records } = newSink(held);
  const tx = {
    lsid: { id: new Binary(Buffer.alloc(16, 1), 4), uid: new Binary(Buffer.alloc(32)) },
    txnNumber: Long.fromNumber(7),
  };
  take(insert(99, 0, -1));
  take(
    insert(100, 0, 0, {
      ...tx,
      ns: { db: 'shop', coll: '_changetrail_context' },
      fullDocument: { _id: 0, id: 'alice' },
    }),
  );
  take(insert(100, 1, 1, tx));
  take(insert(100, 2, 2, tx));
  take(insert(101, 0, 3));
  expect(keys(records)).toEqual([2, 3]);
  expect(records[0]).toMatchObject({
    actor: { id: 'alice' },
    source: { tx: '01010101-0101-0101-0101-010101010101:7', seq: 2 },
  });
  expect(records[1]!.actor?.id).toBeUndefined();
});

const rename = event(100, 0, {
  operationType: 'rename',
  to: { db: 'shop', coll: 'b' },
  operationDescription: { to: { db: 'shop', coll: 'b' }, dropTarget: new Binary(Buffer.alloc(16, 2), 4) },
});

test('of a rename’s two records the one that the ledger lacks is written', () => {
  const whole = newSink();
  whole.take(rename);
  expect(whole.records.map((r) => [r.id, r.action])).toEqual([
    ['docs:100.1:0:dropped', 'drop'],
    ['docs:100.1:0', 'rename'],
  ]);
  const half = newSink({ time: { seconds: 100, increment: 1 }, seq: 0, partOnly: true });
  half.take(rename);
  expect(half.records.map((r) => r.id)).toEqual(['docs:100.1:0']);
  const none = newSink({ time: { seconds: 100, increment: 1 }, seq: 0, partOnly: false });
  none.take(rename);
  expect(none.records).toEqual([]);
});

test('a kind of event that is not known is recorded by its name', () => {
  const { take, records } = newSink();
  take(event(100, 0, { operationType: 'reshardCollection', operationDescription: { reshardUUID: 'x' } }));
  expect(records).toMatchObject([{ kind: 'schema', action: 'reshardCollection', after: { reshardUUID: 'x' } }]);
});

test('disambiguated paths (MongoDB 6.1 and later) decide without images', () => {
  const { take, records } = newSink();
  const updateDescription = {
    updatedFields: { 'a.b': 1, 'c.0': 2, 'd.e': 3 },
    removedFields: [],
    truncatedArrays: [],
    disambiguatedPaths: { 'a.b': ['a.b'], 'c.0': ['c', '0'] },
  };
  take(
    event(100, 0, {
      operationType: 'update',
      documentKey: { _id: 1 },
      updateDescription,
      fullDocument: null,
      fullDocumentBeforeChange: null,
    }),
  );
  expect(records[0]!.changed).toEqual(['a\\.b', 'c.0', 'd.e']);
  expect(records[0]!.missing).toEqual({ before: 'image_not_enabled', after: 'image_not_enabled' });
});

test('an event in pieces is put together', () => {
  const pieces = [
    {
      _id: { _data: '01' },
      splitEvent: { fragment: 1, of: 3 },
      operationType: 'update',
      ns: { db: 'shop', coll: 'a' },
    },
    { _id: { _data: '02' }, splitEvent: { fragment: 2, of: 3 }, fullDocument: { x: 'y'.repeat(1000) } },
    { _id: { _data: '03' }, splitEvent: { fragment: 3, of: 3 }, fullDocumentBeforeChange: { x: 'z' } },
  ];
  const split = new SplitEvents();
  const view = new EventView();
  const whole = pieces.map((piece) => {
    view.read(Buffer.from(BSON.serialize(piece)), 0);
    return split.add(view);
  });
  expect(whole.slice(0, 2)).toEqual([null, null]);
  expect(BSON.deserialize(whole[2]!)).toEqual({
    _id: { _data: '01' },
    operationType: 'update',
    ns: { db: 'shop', coll: 'a' },
    fullDocument: { x: 'y'.repeat(1000) },
    fullDocumentBeforeChange: { x: 'z' },
  });
});
