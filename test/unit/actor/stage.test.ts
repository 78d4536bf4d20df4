import { describe, expect, test } from 'vitest';
import { glob } from '../../../src/actor/rules.ts';
import { stageWith } from './harness.ts';

const SESSION = { user: 'app', client: '10.0.0.7', app: 'api', pid: 123 };
const BESIDE = { db_user: 'app', db_client: '10.0.0.7', db_app: 'api', db_pid: 123 };
const NO_KEY = { db_assurance: 'claimed' };
const sessionText = (facts: object, xid = '1') => `${'0'.repeat(64)} ${xid} ${JSON.stringify(facts)}`;

describe('a message in the transaction', () => {
  test('names the actor; every key that is not the actor’s is context', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', {
      id: 'alice',
      type: 'user',
      name: 'Alice',
      session: 's1',
      client: '1.2.3.4',
      app: 'web',
      reason: 'r',
      n: [1],
    });
    expect(change()).toEqual({
      actor: {
        id: 'alice',
        type: 'user',
        name: 'Alice',
        session: 's1',
        client: '1.2.3.4',
        app: 'web',
        assurance: 'claimed',
        via: 'message',
      },
      context: { reason: 'r', n: [1] },
    });
  });

  test('holds for all changes that follow, a later one replaces it, and the next transaction starts with nobody', () => {
    const { begin, say, change } = stageWith();
    begin('1');
    expect(change()).toEqual({ actor: { assurance: 'none' } });
    say('message', { id: 'alice', ticket: 1 });
    expect(change().actor['id']).toBe('alice');
    expect(change().actor['id']).toBe('alice');
    say('message', { id: 'bob' });
    expect(change()).toEqual({ actor: { id: 'bob', assurance: 'claimed', via: 'message' } });
    begin('2');
    expect(change()).toEqual({ actor: { assurance: 'none' } });
  });

  test('cannot pose as what the database knows or as better than claimed', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { id: 'alice', assurance: 'verified', via: 'session', db_user: 'postgres', reason: 'x' });
    expect(change()).toEqual({
      actor: { id: 'alice', assurance: 'claimed', via: 'message' },
      context: { assurance: 'verified', via: 'session', db_user: 'postgres', reason: 'x' },
    });
  });

  test('takes a number as an id by its digits, also one that a double cannot hold', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', '{"id":12345678901234567890,"amount":0.1000000000000000055511,"big":9007199254740993}');
    const text = change();
    expect(text.actor['id']).toBe('12345678901234567890');
  });

  test('keeps the digits of long numbers in the context', () => {
    const { stage, begin, say } = stageWith();
    begin();
    say('message', '{"id":"a","big":9007199254740993,"e":1e400}');
    expect(Buffer.from(stage.fragment()).toString()).toContain('"context":{"big":9007199254740993,"e":1e400}');
  });

  test('keeps on_behalf_of as text or as an object of the actor’s keys', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { id: 'support', on_behalf_of: { id: 'alice', type: 'user', password: 'x', deep: { a: 1 } } });
    expect(change().actor['on_behalf_of']).toEqual({ id: 'alice', type: 'user' });
    say('message', { id: 'support', on_behalf_of: 'alice' });
    expect(change().actor['on_behalf_of']).toBe('alice');
  });

  test.each([
    ['not JSON', 'alice'],
    ['cut off', '{"id":"alice"'],
    ['a string', '"alice"'],
    ['an array', '[{"id":"alice"}]'],
    ['null', 'null'],
    ['nothing', ''],
    ['deeper than a parser goes', `${'['.repeat(200_000)}${']'.repeat(200_000)}`],
  ])('that is %s leaves the changes after it without an actor and says why', (_what, text) => {
    const { begin, say, change, metrics } = stageWith();
    begin();
    say('message', { id: 'alice' });
    say('message', text);
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'message_invalid' } });
    expect(metrics.snapshot().reasons).toEqual({ message_invalid: 1 });
  });

  test('over 1 MiB is not read', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { id: 'alice', text: 'x'.repeat(1024 * 1024) });
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'message_too_large' } });
  });

  test('without an id is all context', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { name: 'Alice', request_id: 'r' });
    expect(change()).toEqual({
      actor: { assurance: 'none', reason: 'message_without_id' },
      context: { name: 'Alice', request_id: 'r' },
    });
    say('message', { id: '', a: 1 });
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'message_without_id' }, context: { id: '', a: 1 } });
  });

  test('with the keys __proto__ and constructor changes nothing but the context', () => {
    const { stage, begin, say } = stageWith();
    begin();
    say('message', '{"id":"a","__proto__":{"type":"admin"},"constructor":1,"x":{"__proto__":2}}');
    expect(Buffer.from(stage.fragment()).toString()).toBe(
      ',"actor":{"id":"a","assurance":"claimed","via":"message"},"context":{"__proto__":{"type":"admin"},"constructor":1,"x":{"__proto__":2}}',
    );
    expect(({} as Record<string, unknown>)['type']).toBeUndefined();
  });

  test('with a key twice is read as its last', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', '{"id":"alice","id":"bob","n":1,"n":2}');
    expect(change()).toEqual({ actor: { id: 'bob', assurance: 'claimed', via: 'message' }, context: { n: 2 } });
  });

  test('with broken UTF-8 or half of a surrogate pair becomes valid text', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', Buffer.from([...Buffer.from('{"id":"al'), 0xff, ...Buffer.from('ice","x":"y"}')]));
    expect(change()).toEqual({
      actor: { id: 'al\ufffdice', assurance: 'claimed', via: 'message', reason: 'message_invalid_utf8' },
      context: { x: 'y' },
    });
    say('message', '{"id":"\\ud83d","\\udc00":"\\ud83d"}');
    expect(change()).toEqual({
      actor: { id: '\ufffd', assurance: 'claimed', via: 'message' },
      context: { '\ufffd': '\ufffd' },
    });
  });

  test('keeps 64 KiB of context; what is longer is cut at a character and named', () => {
    const { stage, begin, say, change } = stageWith();
    begin();
    say('message', { id: 'a'.repeat(5000), first: 1, note: '😀'.repeat(40_000), list: Array(50_000).fill(7), last: 2 });
    const { actor, context } = change();
    expect(actor['truncated']).toEqual(['id', 'context.note', 'context.list', 'context.last']);
    expect(context!['first']).toBe(1);
    expect(context!['note']).toMatch(/^(😀){16000,}…$/u);
    expect(Buffer.byteLength(JSON.stringify(context))).toBeLessThanOrEqual(64 * 1024);
    expect(Buffer.byteLength(JSON.stringify(actor['id']))).toBeLessThanOrEqual(1024);
    expect(stage.fragment().length).toBeLessThanOrEqual(64 * 1024 + 10 * 1024);
  });

  test('leaves out a value that does not fit and goes on with those that do', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { id: 'a', list: Array(40_000).fill(77), last: 2 });
    expect(change()).toEqual({
      actor: { id: 'a', assurance: 'claimed', via: 'message', truncated: ['context.list'] },
      context: { last: 2 },
    });
  });

  test('nested deeper than 32 keeps the upper levels', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', `{"id":"a","deep":${'{"x":'.repeat(40)}1${'}'.repeat(40)}}`);
    const { actor, context } = change();
    expect(actor['truncated']).toEqual(['context.deep']);
    expect(JSON.stringify(context)).toBe(`{"deep":${'{"x":'.repeat(31)}"[too deep]"${'}'.repeat(31)}}`);
  });

  test('may come decoded', () => {
    const { stage, begin, change } = stageWith();
    begin();
    stage.observe({ via: 'message', value: { id: 'alice', a: 1 } });
    expect(change()).toEqual({ actor: { id: 'alice', assurance: 'claimed', via: 'message' }, context: { a: 1 } });
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    stage.observe({ via: 'message', value: circle });
    expect(change().actor['reason']).toBe('message_invalid');
  });
});

describe('the dialects', () => {
  test('a Sequin annotation holds until it is cleared; then the message before it holds again', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('message', { id: 'alice' });
    say('sequin', { user_id: 'bob', a: 1 });
    const bob = {
      actor: { id: 'bob', assurance: 'claimed', via: 'sequin' },
      context: { user_id: 'bob', a: 1 },
    };
    expect(change()).toEqual(bob);
    expect(change()).toEqual(bob);
    say('sequin_clear', '');
    expect(change()).toEqual({ actor: { id: 'alice', assurance: 'claimed', via: 'message' } });
    say('sequin', { user_id: 'bob' });
    say('message', { id: 'carol' });
    expect(change().actor['id']).toBe('carol');
    begin();
    expect(change().actor).toEqual({ assurance: 'none' });
  });

  test('a Bemi message holds for the one change after it', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('bemi', { userId: 187234, endpoint: '/a', SQL: 'insert' });
    expect(change()).toEqual({
      actor: { id: '187234', assurance: 'claimed', via: 'bemi' },
      context: { userId: 187234, endpoint: '/a', SQL: 'insert' },
    });
    expect(change()).toEqual({ actor: { assurance: 'none' } });
    say('message', { id: 'alice' });
    say('bemi', { userId: 'b' });
    expect(change().actor['id']).toBe('b');
    expect(change().actor['id']).toBe('alice');
  });

  test('a Bemi message is used up by a change that a row rule answers for', () => {
    const { stage, begin, say, change } = stageWith({ columns: [{ tables: ['*.*'], column: 'updated_by' }] });
    begin();
    say('bemi', { endpoint: '/a' });
    stage.inferred(stage.rowRule('public', 't')!, 'carol');
    expect(change()).toEqual({ actor: { assurance: 'none' } });
  });

  test('an empty context of Bemi says nothing', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('bemi', 'null');
    expect(change()).toEqual({ actor: { assurance: 'none' } });
  });

  test('the keys that name the actor can be told, with dots for nested ones', () => {
    const { begin, say, change } = stageWith({ dialects: { bemi: ['who.id', 'login'], sequin: ['by'] } });
    begin();
    say('bemi', { who: { id: 'a' } });
    expect(change().actor['id']).toBe('a');
    say('bemi', { login: 'b' });
    expect(change().actor['id']).toBe('b');
    say('sequin', { user_id: 'c' });
    expect(change().actor).toEqual({ assurance: 'none', reason: 'message_without_id' });
  });
});

describe('what the database knows', () => {
  test('is the actor when nobody else is named, and stands beside a claim when somebody is', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('session', sessionText(SESSION));
    expect(change()).toEqual({
      actor: {
        id: 'app',
        type: 'role',
        client: '10.0.0.7',
        app: 'api',
        assurance: 'claimed',
        via: 'session',
        ...BESIDE,
        ...NO_KEY,
      },
    });
    say('message', { id: 'alice', client: '8.8.8.8' });
    expect(change()).toEqual({
      actor: { id: 'alice', client: '8.8.8.8', assurance: 'claimed', via: 'message', ...BESIDE, ...NO_KEY },
    });
  });

  test('names the role taken beside the role that logged in', () => {
    const { begin, say, change } = stageWith();
    begin();
    say('session', sessionText({ user: 'alice_dba', role: 'owner', client: 'local', app: 'psql', pid: 7 }));
    expect(change().actor).toMatchObject({ id: 'alice_dba', db_user: 'alice_dba', db_role: 'owner' });
  });

  test('tells a person with direct SQL from the application and from a job', () => {
    const roles = [
      { match: 'app', is: 'application', name: 'Shop API' },
      { match: '*_dba', is: 'person' },
      { match: 'nightly', is: 'job' },
    ];
    const { stage, begin, say, change } = stageWith({ roles });
    begin();
    say('session', sessionText(SESSION));
    expect(change().actor).toMatchObject({ type: 'application', name: 'Shop API', db_type: 'application' });
    expect(stage.known).toBe(false);
    say('session', sessionText({ ...SESSION, user: 'alice_dba' }));
    expect(change().actor).toMatchObject({ id: 'alice_dba', type: 'person', db_type: 'person' });
    expect(stage.known).toBe(true);
    say('message', { id: 'app-user' });
    expect(change().actor).toMatchObject({ id: 'app-user', db_user: 'alice_dba', db_type: 'person' });
    begin();
    say('session', sessionText({ ...SESSION, user: 'nightly' }));
    expect(change().actor).toMatchObject({ type: 'job' });
  });

  test('settings name the actor, with a path into JSON, as the application’s claim', () => {
    const settings = [
      { name: 'app.user_id' },
      { name: 'request.jwt.claims', path: 'sub' },
      { name: 'request.jwt.claims', path: 'session.id', as: 'session' },
      { name: 'app.tenant', as: 'context.tenant' },
    ];
    const { begin, say, change } = stageWith({ settings });
    begin();
    const claims = JSON.stringify({ sub: 'u-1', session: { id: 's-9' }, email: 'secret@example.com' });
    say(
      'session',
      sessionText({ ...SESSION, settings: { 'app.user_id': null, 'request.jwt.claims': claims, 'app.tenant': 't1' } }),
    );
    expect(change()).toEqual({
      actor: { id: 'u-1', session: 's-9', assurance: 'claimed', via: 'session', ...BESIDE, ...NO_KEY },
      context: { tenant: 't1' },
    });
    say('message', { id: 'alice', tenant: 't2', x: 1 });
    expect(change()).toMatchObject({ actor: { id: 'alice', via: 'message' }, context: { tenant: 't2', x: 1 } });
    begin();
    say(
      'session',
      sessionText({ ...SESSION, settings: { 'app.user_id': '42', 'request.jwt.claims': 'no json', 'app.tenant': '' } }),
    );
    expect(change()).toMatchObject({ actor: { id: '42' } });
  });

  test('that is no session message is said and counted', () => {
    const { begin, say, change, metrics } = stageWith();
    begin();
    say('session', '{"user":"postgres"}');
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'session_invalid' } });
    say('session', `${'0'.repeat(64)} 1 {"no":"user"}`);
    say('session', `${'0'.repeat(64)} 1 nonsense`);
    say('session', '');
    expect(metrics.snapshot().reasons).toEqual({ session_invalid: 4 });
  });

  test('MongoDB’s word is verified, by the user’s name or its hash; a reason says why there is none', () => {
    const { stage, begin, say, change } = stageWith();
    begin();
    const value = Object.freeze({ uid: 'ab12', user: 'alice@shop' });
    stage.observe({ via: 'lsid', value });
    const alice = { id: 'alice@shop', type: 'role', assurance: 'verified', via: 'lsid', db_user: 'alice@shop' };
    expect(change()).toEqual({ actor: alice });
    begin('2');
    stage.observe({ via: 'lsid', value });
    expect(change()).toEqual({ actor: alice });
    begin('3');
    stage.observe({ via: 'lsid', value: { uid: 'ab12' } });
    expect(change().actor).toMatchObject({ id: 'uid:ab12', assurance: 'verified' });
    begin('4');
    stage.observe({ via: 'lsid', value: Object.freeze({ reason: 'oplog_rolled' }) });
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'oplog_rolled' } });
    say('message', { id: 'bob' });
    expect(change().actor).toEqual({ id: 'bob', assurance: 'claimed', via: 'message', reason: 'oplog_rolled' });
  });

  test('a value that is not frozen is read anew each time', () => {
    const { stage, begin, change } = stageWith();
    const value = { uid: 'a', user: 'alice@shop' };
    begin();
    stage.observe({ via: 'lsid', value });
    expect(change().actor['id']).toBe('alice@shop');
    value.user = 'bob@shop';
    begin();
    stage.observe({ via: 'lsid', value });
    expect(change().actor['id']).toBe('bob@shop');
  });
});

describe('the row', () => {
  const columns = [
    { tables: ['public.*', '!public.sessions'], column: 'updated_by', type: 'customer' },
    { tables: ['crm.deals'], column: 'owner' },
  ];

  test('rules are found by table; the last pattern that fits decides', () => {
    const { stage } = stageWith({ columns });
    expect(stage.rowRule('public', 'users')).toEqual({ column: 'updated_by', type: 'customer' });
    expect(stage.rowRule('public', 'sessions')).toBeNull();
    expect(stage.rowRule('crm', 'deals')).toEqual({ column: 'owner' });
    expect(stage.rowRule('crm', 'deals2')).toBeNull();
  });

  test('names the writer as inferred, with the database’s facts beside it', () => {
    const { stage, begin, say, metrics } = stageWith({
      columns,
      ids: [{ match: 'al*', name: 'Alice' }],
      roles: [{ match: 'app', is: 'application' }],
    });
    begin();
    say('session', sessionText(SESSION));
    const text = Buffer.from(stage.inferred(stage.rowRule('public', 'users')!, 'alice')).toString();
    stage.count('public', 'users', 1);
    expect(JSON.parse(`{${text.slice(1)}}`)).toEqual({
      actor: {
        id: 'alice',
        type: 'customer',
        name: 'Alice',
        assurance: 'inferred',
        via: 'row',
        ...BESIDE,
        db_type: 'application',
        ...NO_KEY,
      },
    });
    expect(metrics.snapshot().tables['public.users']).toMatchObject({ inferred: 1, none: 0, role_only: 0 });
  });

  test('never stands over a better rung, and an empty column names nobody', () => {
    const { stage, begin, say } = stageWith({ columns });
    const rule = stage.rowRule('public', 'users')!;
    begin();
    say('message', { id: 'bob' });
    expect(Buffer.from(stage.inferred(rule, 'alice')).toString()).toContain('"id":"bob"');
    begin();
    say('session', sessionText({ ...SESSION, user: 'dba' }));
    expect(Buffer.from(stage.inferred(rule, 'alice')).toString()).toContain('"id":"dba"');
    begin();
    expect(Buffer.from(stage.inferred(rule, '')).toString()).toBe(',"actor":{"assurance":"none"}');
  });

  test('keeps the context of a message that names nobody', () => {
    const { stage, begin, say } = stageWith({ columns });
    const rule = stage.rowRule('public', 'users')!;
    begin();
    say('message', { request_id: 'r1' });
    expect(Buffer.from(stage.inferred(rule, 'alice')).toString()).toContain('"context":{"request_id":"r1"}');
    begin();
    say('message', { request_id: 'r2' });
    expect(Buffer.from(stage.inferred(rule, 'alice')).toString()).toContain('"context":{"request_id":"r2"}');
    begin();
    expect(Buffer.from(stage.inferred(rule, 'alice')).toString()).not.toContain('context');
  });
});

describe('labels and counts', () => {
  test('types and names come by id where the actor gives none', () => {
    const ids = [
      { match: 'svc-*', type: 'service', name: 'Service' },
      { match: '*', type: 'user' },
    ];
    const { begin, say, change } = stageWith({ ids });
    begin();
    say('message', { id: 'svc-mail' });
    expect(change().actor).toMatchObject({ type: 'service', name: 'Service' });
    say('message', { id: 'svc-mail', type: 'job' });
    expect(change().actor).toMatchObject({ type: 'job', name: 'Service' });
    say('message', { id: 'alice' });
    expect(change().actor).toMatchObject({ type: 'user' });
  });

  test('patterns take any text, and no text takes them long', () => {
    const fits: [string, string, boolean][] = [
      ['svc-*', 'svc-', true],
      ['svc-*', 'SVC-1', false],
      ['*', '', true],
      ['', '', true],
      ['', 'a', false],
      ['a?c', 'a😀c', true],
      ['a?c', 'ac', false],
      ['*.b*.c', 'a.b.b.c', true],
      ['*.b*.c', 'a.b.b.c\n', false],
      ['a.c', 'abc', false],
      ['*ab', 'aab', true],
      ['**a**', 'xay', true],
    ];
    for (const [pattern, text, expected] of fits) expect(glob(pattern)(text), `${pattern} ${text}`).toBe(expected);
    const started = performance.now();
    expect(glob('*-*-*-*-*svc')('-'.repeat(1024))).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('changes are counted by assurance, table and application', () => {
    const { begin, say, change, metrics } = stageWith();
    begin();
    change('a');
    say('session', sessionText(SESSION));
    change('a');
    say('message', { id: 'x' });
    change('a');
    change('b');
    expect(metrics.snapshot()).toEqual({
      total: { verified: 0, claimed: 3, inferred: 0, none: 1, role_only: 1 },
      tables: {
        'public.a': { verified: 0, claimed: 2, inferred: 0, none: 1, role_only: 1 },
        'public.b': { verified: 0, claimed: 1, inferred: 0, none: 0, role_only: 0 },
      },
      applications: { '(unknown)': { changes: 1, without_actor: 1 }, api: { changes: 3, without_actor: 1 } },
      reasons: {},
    });
  });
});
