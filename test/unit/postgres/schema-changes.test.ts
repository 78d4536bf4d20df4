import { describe, expect, test } from 'vitest';
import type { ColumnDefinition } from '../../../connectors/postgres/decode/relation.ts';
import {
  type KnownTable,
  KnownTables,
  schemaChange,
  withNumbers,
} from '../../../connectors/postgres/schema-changes.ts';

/** `name:number` with type integer, `name:number:type` with another; the number may be left out. */
function columns(text: string): ColumnDefinition[] {
  return text.split(' ').map((column) => {
    const [name, number, type] = column.split(':');
    return { name: name!, type: type ?? 'integer', ...(number ? { number: Number(number) } : {}) };
  });
}

const table = (text: string, more: Partial<KnownTable['definition']> = {}, name = 't'): KnownTable => ({
  schema: 'public',
  table: name,
  definition: { oid: 7, columns: columns(text), replica_identity: 'default', key: ['id'], ...more },
});

describe('what changed', () => {
  test.each([
    ['nothing', 'id:1 v:2', 'id:1 v:2', null],
    ['an added column', 'id:1', 'id:1 v:2', { added: ['v'] }],
    ['a dropped column', 'id:1 v:2', 'id:1', { dropped: ['v'] }],
    ['a renamed column', 'id:1 v:2', 'id:1 w:2', { renamed: [{ from: 'v', to: 'w' }] }],
    ['another type', 'id:1 v:2', 'id:1 v:2:text', { retyped: [{ column: 'v', from: 'integer', to: 'text' }] }],
    [
      'swapped names',
      'a:1 b:2',
      'b:1 a:2',
      {
        renamed: [
          { from: 'a', to: 'b' },
          { from: 'b', to: 'a' },
        ],
      },
    ],
    ['dropped and made again', 'id:1 v:2', 'id:1 v:3', { added: ['v'], dropped: ['v'] }],
    ['no numbers, the same names', 'id v', 'id v', null],
    ['no numbers, another name', 'id v', 'id w', { added: ['w'], dropped: ['v'] }],
  ])('%s', (_, before, after, details) => {
    const change = schemaChange(table(before), table(after));
    expect(change?.details ?? null).toEqual(details);
    expect(change?.action ?? null).toBe(details === null ? null : 'alter');
  });

  test('name, replica identity, key and columns that are not captured', () => {
    const after = table('id:1', { replica_identity: 'full', key: [], not_captured: ['g'] }, 'u');
    expect(schemaChange(table('id:1'), after)).toMatchObject({
      action: 'rename',
      changed: ['table', 'replica_identity', 'key', 'not_captured'],
    });
    expect(schemaChange(undefined, after)).toMatchObject({ action: 'attach', before: undefined });
  });
});

describe('numbers of columns', () => {
  test.each([
    ['what the catalog tells is taken', 'id:1 v:2', 'id:1 w:2', 'id:1 w:2'],
    ['the same columns keep theirs', 'id:1 v:2', 'id:1 v:5', 'id:1 v:2'],
    ['by name, where the catalog has it not any more', 'id:1 v:2', 'id:1 v n:3', 'id:1 v:2 n:3'],
    ['by place, where only an old column can stand', 'id:1 v:2 w:3', 'id:1 x w:3', 'id:1 x:2 w:3'],
    ['by place, before the first new one', 'id:1 v:2', 'id:1 x n:3', 'id:1 x:2 n:3'],
    ['not at the end, where a new one may stand', 'id:1 v:2', 'id:1 x', 'id:1 x'],
    ['not when one of two was dropped', 'id:1 v:2 w:3 z:4', 'id:1 x z:4', 'id:1 x z:4'],
    ['not from names that changed their places', 'a:1 b:2', 'a:2 b:1 c:3', 'a:1 b:2 c'],
  ])('%s', (_, before, now, expected) => {
    expect(withNumbers(table(before), table(now)).definition.columns).toEqual(columns(expected));
  });
});

test('known tables are restored from what was kept and from newer records', () => {
  const kept = new KnownTables();
  kept.set(table('id:1'));
  kept.set({ ...table('id:1', { oid: 8 }, 'gone') });
  const newer = { schema: 'public', table: 't', ...table('id:1 v:2').definition };
  const known = KnownTables.restore(JSON.parse(JSON.stringify(kept)), [
    { object: { schema: 'public', table: 't' }, after: newer },
    { object: { schema: 'public', table: 'gone' }, after: undefined },
  ]);
  expect(known.oids()).toEqual([7]);
  expect(known.get(7)?.definition.columns).toHaveLength(2);
  expect(KnownTables.restore(undefined, []).oids()).toEqual([]);
});
