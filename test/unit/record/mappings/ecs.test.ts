import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { asFlattened, toEcs } from '../../../../src/record/mappings/ecs.ts';
import type { AuditRecord } from '../../../../src/record/schema.ts';
import { sampleRecords } from '../../../support/sample-records.ts';
import { ecsFaults } from './ecs-check.ts';

const records = sampleRecords();
const first = records[0] as AuditRecord;
const out = (record: AuditRecord) => JSON.parse(JSON.stringify(toEcs(record)));

describe('ECS', () => {
  test.each(records.map((record) => [record.source.engine, record.kind, record.action, record] as const))(
    '%s %s %s conforms to ECS 9.4',
    (_engine, _kind, _action, record) => {
      expect(ecsFaults(out(record), 'changetrail')).toEqual([]);
    },
  );

  test('the check itself finds faults', () => {
    const event = { category: ['database'], type: ['creation'], kind: 'deed', action: ['x', 1], sequence: 'one' };
    expect(ecsFaults({ '@timestamp': 'yesterday', event, client: { ip: 'here' }, lost: 1 }, 'changetrail')).toEqual([
      '@timestamp: "yesterday" is not date',
      'event.kind: "deed" not allowed',
      'event.action: 1 is not keyword',
      'event.sequence: "one" is not long',
      'client.ip: "here" is not ip',
      'lost: not an ECS field',
      'ecs.version: missing',
      'event.type creation is not expected for category database',
    ]);
  });

  test('keeps microseconds', () => {
    expect(out(first)['@timestamp']).toBe('2026-11-24T10:00:00.123456Z');
  });

  test('names the application’s user, and the database’s user as the effective one', () => {
    expect(out(first)).toMatchObject({
      user: { id: 'alice@example.com', name: 'Alice', effective: { name: 'app' } },
      related: { user: ['alice@example.com', 'Alice', 'app'], ip: ['10.0.0.7'] },
      client: { address: '10.0.0.7/32', ip: '10.0.0.7' },
      trace: { id: '4bf92f3577b34da6a3ce929d0e0e4736' },
      span: { id: '00f067aa0ba902b7' },
    });
    const actor = { assurance: 'verified', db_user: 'app' } as const;
    expect(out({ ...first, actor }).user).toEqual({ name: 'app' });
    expect(out({ ...first, actor: { assurance: 'none' } }).user).toBeUndefined();
  });

  test('a client that is no address is not called one', () => {
    for (const client of ['gateway.internal', 'fe80::1%eth0', '10.0.0.7/24']) {
      const document = out({ ...first, actor: { assurance: 'claimed', client } });
      expect(document.client).toEqual({ address: client });
      expect(document.source).toEqual({ address: client });
    }
    const withPort = out({ ...first, actor: { assurance: 'claimed', client: '[2001:db8::1]:5432' } });
    expect(withPort.client.ip).toBe('2001:db8::1');
  });

  test('says denied where ECS only knows failure', () => {
    const document = out({ ...first, outcome: 'denied' });
    expect(document.event.outcome).toBe('failure');
    expect(document.changetrail.outcome).toBe('denied');
  });
});

describe('values for a flattened field', () => {
  test('an object stays, anything else is wrapped', () => {
    expect(asFlattened({ a: [1, { b: null }] })).toEqual({ a: [1, { b: null }] });
    expect(asFlattened([1])).toEqual({ value: [1] });
    expect(asFlattened('text')).toEqual({ value: 'text' });
    expect(asFlattened(null)).toBeNull();
  });

  test('nesting ends above the limit of 20, and nothing is lost', () => {
    let deep: unknown = { end: 'value' };
    for (let i = 0; i < 50; i++) deep = i % 2 === 0 ? [deep] : { a: deep };
    const flat = asFlattened(deep);
    expect(depth(flat)).toBeLessThan(20);
    expect(unfold(flat)).toEqual({ value: deep }.value === deep ? unfold({ value: deep }.value) : null);
  });

  test('keys that Elasticsearch refuses are written out', () => {
    expect(asFlattened({ '': 1, 'a\0b': 2, 'a.b': 3 })).toEqual({ '""': 1, 'a\\u0000b': 2, 'a.b': 3 });
  });

  test('any JSON value becomes a shallow object', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 40 }), (value) => {
        const flat = asFlattened(value);
        expect(flat === null || (typeof flat === 'object' && !Array.isArray(flat))).toBe(true);
        expect(depth(flat)).toBeLessThan(20);
      }),
    );
  });
});

function depth(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depth));
}

/** Parses JSON texts inside a value back. */
function unfold(value: unknown): unknown {
  if (typeof value === 'string' && /^[[{]/.test(value)) return unfold(JSON.parse(value));
  if (Array.isArray(value)) return value.map(unfold);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unfold(item)]));
}
