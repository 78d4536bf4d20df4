import { describe, expect, test } from 'vitest';
import { compileFilter, compilePatterns } from '../../../src/pipeline/delivery/filter.ts';
import { sampleRecord } from '../../support/sink-ledger.ts';

const line = (record: object) => Buffer.from(`${JSON.stringify({ v: 1, index: 5, ...record })}\n`);
const passes = (options: object, record: object, errors: string[] = []) =>
  compileFilter(options, (message) => errors.push(message))(line(record));

describe('compilePatterns', () => {
  test.each([
    [['public.*'], 'public.users', true],
    [['public.*'], 'private.users', false],
    [['public.*', '!public.sessions'], 'public.sessions', false],
    [['!public.sessions'], 'public.users', true],
    [['*.users'], 'a.b.users', true],
    [['a.b'], 'axb', false],
    [['*'], '', true],
    [['!batch-*'], '', true],
  ])('%j on %j is %j', (patterns, name, expected) => {
    expect(compilePatterns(patterns)(name)).toBe(expected);
  });
});

describe('a filter', () => {
  const update = sampleRecord(1);

  test('wants every condition', () => {
    expect(passes({ kinds: ['change'], actions: ['update'] }, update)).toBe(true);
    expect(passes({ kinds: ['change'], actions: ['delete'] }, update)).toBe(false);
    expect(passes({ kinds: ['gap'] }, update)).toBe(false);
  });

  test('knows tables, collections and records without either', () => {
    const objects = ['public.users', 'shop.*'];
    expect(passes({ objects }, { object: { schema: 'public', table: 'users' } })).toBe(true);
    expect(passes({ objects }, { object: { schema: 'public', table: 'orders' } })).toBe(false);
    expect(passes({ objects }, { object: { database: 'shop', collection: 'carts' } })).toBe(true);
    expect(passes({ objects }, { kind: 'gap', object: {} })).toBe(true);
  });

  test('takes a record without an actor for one with an empty id', () => {
    expect(passes({ actors: ['user*'] }, update)).toBe(true);
    expect(passes({ actors: ['user*'] }, { kind: 'gap', object: {} })).toBe(false);
    expect(passes({ actors: ['!user*'] }, { kind: 'gap', object: {} })).toBe(true);
  });

  test('evaluates a CEL expression', () => {
    expect(passes({ when: "record.actor.type == 'user' && 'email' in record.changed" }, update)).toBe(true);
    expect(passes({ when: "record.outcome != 'success'" }, update)).toBe(false);
    expect(passes({ when: 'has(record.after.email) && record.object.key.id > 5' }, update)).toBe(false);
  });

  test('sends what the expression fails on, and tells', () => {
    const errors: string[] = [];
    expect(passes({ when: "record.nothing.here == 'x'" }, update, errors)).toBe(true);
    expect(passes({ when: 'record.index' }, update, errors)).toBe(true);
    expect(errors).toHaveLength(2);
  });

  test.each(['1 +', 'recrod.kind == "change"', 'unknown(record)'])('refuses the expression %j', (when) => {
    expect(() => compileFilter({ when }, () => undefined)).toThrow(
      expect.objectContaining({ code: 'AUD_SINK_OPTIONS' }),
    );
  });
});
