import { expect, test } from 'vitest';
import { NO_COLOURS, prettyRecord } from '../../../src/cli/pretty.ts';
import type { AuditRecord } from '../../../src/record/schema.ts';

const UPDATE: AuditRecord = {
  v: 1,
  index: 7,
  id: 'shop:0/1A:3',
  kind: 'change',
  time: '2026-11-24T10:00:00.123456Z',
  captured: '2026-11-24T10:00:00.126Z',
  source: { name: 'shop', engine: 'postgres' },
  action: 'update',
  object: { schema: 'public', table: 'users', key: { id: 42 } },
  actor: { id: 'alice', type: 'user', assurance: 'claimed' },
  context: { reason: 'ticket 881' },
  outcome: 'success',
  changed: ['email'],
  before: { id: 42, email: 'a@example.com' },
  after: { id: 42, email: 'b@example.com' },
};

test('a change reads as when, what, which row, who, and what changed', () => {
  expect(prettyRecord(UPDATE, NO_COLOURS)).toBe(
    '10:00:00.123 UPDATE   public.users [42]  by alice user claimed “ticket 881”\n             email: a@example.com → b@example.com\n',
  );
});

test('nobody known is said, with the database user where there is one', () => {
  const text = prettyRecord({ ...UPDATE, actor: { assurance: 'none', db_user: 'app' }, context: {} }, NO_COLOURS);
  expect(text).toContain('by nobody known (database user app)');
});

test('hostile text cannot reach the terminal as control characters', () => {
  const after = { id: 42, email: '\u001b[31mred\u0007\u009b2J\u202e' };
  const actor = { id: '\u001b]0;title\u0007', type: '\u001b[1m', assurance: 'claimed' as const };
  const text = prettyRecord(
    { ...UPDATE, after, actor, object: { table: '\u001b[2Jx' }, context: { reason: '\u001b[3m' } },
    NO_COLOURS,
  );
  expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test('a gap says from, to and cause', () => {
  const gap: AuditRecord = {
    ...UPDATE,
    kind: 'gap',
    action: 'gap',
    object: {},
    details: { from: '0/1', to: '0/2', cause: 'slot_missing' },
  };
  expect(prettyRecord(gap, NO_COLOURS)).toContain('from 0/1 to 0/2: slot_missing');
});
