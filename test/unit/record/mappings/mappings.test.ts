import { readFileSync } from 'node:fs';
import { CloudEvent } from 'cloudevents';
import { describe, expect, test } from 'vitest';
import { mappingsReference } from '../../../../scripts/reference/mappings.ts';
import { toCloudEvent } from '../../../../src/record/mappings/cloudevents.ts';
import { toDebezium } from '../../../../src/record/mappings/debezium.ts';
import { isObject } from '../../../../src/record/mappings/facts.ts';
import { FORMATS, mapperFor } from '../../../../src/record/mappings/index.ts';
import { orderKey } from '../../../../src/record/mappings/key.ts';
import { KINDS } from '../../../../src/record/schema.ts';
import { sampleRecords } from '../../../support/sample-records.ts';

const records = sampleRecords();
const byId = (id: string) => records.find((record) => record.id === id)!;
const json = (value: unknown) => JSON.parse(JSON.stringify(value));

describe('every mapping', () => {
  test('is tested with every kind of record, and every kind of change of both engines', () => {
    expect(new Set(records.map(({ kind }) => kind))).toEqual(new Set(KINDS));
    for (const engine of ['postgres', 'mongodb']) {
      const of = records.filter(({ source }) => source.engine === engine);
      const actions = new Set(of.filter(({ kind }) => kind === 'change').map(({ action }) => action));
      for (const action of ['insert', 'update', 'delete', 'truncate']) expect(actions).toContain(action);
      for (const kind of ['baseline', 'schema', 'capture', 'gap']) expect(of.some((r) => r.kind === kind)).toBe(true);
    }
  });

  test.each(FORMATS.filter((format) => format !== 'native'))('%s loses no value of a record', (format) => {
    const map = mapperFor(format)!;
    for (const record of records) {
      const kept = new Set(leaves(json(map(record))));
      for (const value of leaves(json(record))) {
        expect(kept, `${record.id}: ${value}`).toContain(value);
      }
    }
  });

  test.each(FORMATS.filter((format) => format !== 'native'))('%s does not change the record', (format) => {
    for (const record of records) {
      const before = JSON.stringify(record);
      mapperFor(format)!(record);
      expect(JSON.stringify(record)).toBe(before);
    }
  });

  test('native has no mapper', () => {
    expect(mapperFor('native')).toBeNull();
  });
});

/** All values that are not objects; JSON texts, and records in base64, are looked into. */
function* leaves(value: unknown): Generator<unknown> {
  if (Array.isArray(value)) for (const item of value) yield* leaves(item);
  else if (isObject(value)) for (const item of Object.values(value)) yield* leaves(item);
  else {
    yield value;
    if (typeof value !== 'string') return;
    if (/^[[{]/.test(value)) yield* leaves(JSON.parse(value));
    const decoded = Buffer.from(value, 'base64').toString('utf8');
    if (decoded.startsWith('{"v":1,')) yield* leaves(JSON.parse(decoded));
  }
}

describe('CloudEvents', () => {
  test.each(records.map((record) => [record.id, record] as const))('%s is a valid CloudEvent', (_id, record) => {
    const event = json(toCloudEvent(record));
    expect(() => new CloudEvent(event, true)).not.toThrow();
    expect(event.data).toEqual(json(record));
  });

  test('sequences sort as the ledger does', () => {
    const [record] = records as [(typeof records)[0]];
    const texts = [9, 10, 48213, Number.MAX_SAFE_INTEGER].map(
      (index) => toCloudEvent({ ...record, index })['sequence'],
    );
    expect([...texts].sort()).toEqual(texts);
  });
});

describe('Debezium', () => {
  test('a PostgreSQL update has both images, the position as a number and the time in three units', () => {
    const value = json(toDebezium(byId('shop:0/1A2B3C8:1')));
    expect(value).toMatchObject({
      op: 'u',
      before: { email: 'a@example.com' },
      after: { email: 'b@example.com' },
      ts_ms: 1795514400126,
      source: {
        connector: 'postgresql',
        name: 'shop',
        db: 'shop',
        schema: 'public',
        table: 'users',
        txId: 7411,
        lsn: 0x1a2b3c8,
        snapshot: 'false',
        ts_ms: 1795514400123,
        ts_us: 1795514400123456,
      },
      changetrail: { id: 'shop:0/1A2B3C8:1', actor: { id: 'alice@example.com' } },
    });
    expect(JSON.stringify(toDebezium(byId('shop:0/1A2B3C8:1')))).toContain('"ts_ns":1795514400123456000');
  });

  test('operations are c, u, d, t, and r for a baseline', () => {
    const op = (id: string) => toDebezium(byId(id))['op'];
    expect([0, 1, 3, 4].map((seq) => op(`shop:0/1A2B3C8:${seq}`))).toEqual(['c', 'u', 'd', 't']);
    expect(op('shop:0/1A2B3D0:baseline:0')).toBe('r');
  });

  test('a MongoDB document is a text of JSON', () => {
    const value = json(toDebezium(byId('docs:1795514400.7:1')));
    expect(JSON.parse(value.after)).toMatchObject({ total: { $numberDecimal: '12.00' } });
    expect(value.source).toMatchObject({ connector: 'mongodb', db: 'shop', collection: 'orders', ord: 7 });
  });

  test('a record without a Debezium event is a message with the whole record', () => {
    const gap = byId('shop:gap:48221');
    const value = json(toDebezium(gap));
    expect(value).toMatchObject({ op: 'm', message: { prefix: 'changetrail.gap' } });
    expect(JSON.parse(Buffer.from(value.message.content, 'base64').toString('utf8'))).toEqual(json(gap));
  });

  test('a position that is none is left out, not guessed', () => {
    const record = byId('shop:0/1A2B3C8:0');
    const value = json(toDebezium({ ...record, source: { ...record.source, lsn: 'x/y', tx: 'none' } }));
    expect(value.source.lsn).toBeUndefined();
    expect(value.source.txId).toBeUndefined();
  });
});

describe('the key that keeps order', () => {
  test('is the same for all changes of a row, and another for another row', () => {
    expect(orderKey(byId('shop:0/1A2B3C8:0'))).toBe('shop/public.users/{"id":42}');
    expect(orderKey(byId('shop:0/1A2B3C8:3'))).toBe(orderKey(byId('shop:0/1A2B3C8:0')));
    expect(orderKey(byId('shop:0/1A2B3C8:4'))).toBe('shop/public.users');
    expect(orderKey(byId('docs:1795514400.7:0'))).toBe('docs/shop.orders/{"_id":{"$oid":"6564a1f0c2a4e1b2d3f4a5b6"}}');
    expect(orderKey(byId('changetrail:head:48236'))).toBe('changetrail');
  });
});

test('the page of examples is the one in the documentation', () => {
  const url = new URL('../../../../docs/reference/mappings.md', import.meta.url);
  expect(readFileSync(url, 'utf8')).toBe(mappingsReference());
});
