import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { stageWith } from './harness.ts';

const KEY = randomBytes(32);
const FACTS = { user: 'alice_dba', client: '10.0.0.7', app: 'psql', pid: 9 };

function sealed(facts: object, xid: string, key: Uint8Array = KEY): string {
  const body = `${xid} ${JSON.stringify(facts)}`;
  return `${createHmac('sha256', key).update(body).digest('hex')} ${body}`;
}

describe('a session message with a key to check it', () => {
  const open = () => {
    const all = stageWith();
    all.stage.sessionKey(KEY);
    all.begin('7');
    return all;
  };

  test('sealed by the database is verified', () => {
    const { say, change } = open();
    say('session', sealed(FACTS, '7'));
    expect(change()).toEqual({
      actor: {
        id: 'alice_dba',
        type: 'role',
        client: '10.0.0.7',
        app: 'psql',
        assurance: 'verified',
        via: 'session',
        db_user: 'alice_dba',
        db_client: '10.0.0.7',
        db_app: 'psql',
        db_pid: 9,
      },
    });
  });

  test('a setting in it stays a claim of the application', () => {
    const all = stageWith({ settings: [{ name: 'app.user_id' }] });
    all.stage.sessionKey(KEY);
    all.begin('7');
    all.say('session', sealed({ ...FACTS, settings: { 'app.user_id': 'bob' } }, '7'));
    expect(all.change().actor).toMatchObject({ id: 'bob', assurance: 'claimed', via: 'session', db_user: 'alice_dba' });
  });

  test.each([
    ['with another key', sealed(FACTS, '7', randomBytes(32))],
    ['without a MAC', `${'0'.repeat(64)} 7 ${JSON.stringify(FACTS)}`],
    ['copied from another transaction', sealed(FACTS, '6')],
    ['of a changed text', sealed(FACTS, '7').replace('alice_dba', 'somebody!')],
    ['with a MAC that is no hex', `${'zz'.repeat(32)} 7 ${JSON.stringify(FACTS)}`],
  ])('%s is forged: its facts are not taken, and it is said', (_what, text) => {
    const { say, change, metrics } = open();
    say('session', text);
    expect(change()).toEqual({ actor: { assurance: 'none', reason: 'session_forged' } });
    expect(metrics.snapshot().reasons).toEqual({ session_forged: 1 });
  });

  test('a forged one does not displace the true one', () => {
    const { say, change } = open();
    say('session', sealed(FACTS, '7'));
    say('session', sealed({ ...FACTS, user: 'nobody' }, '7', randomBytes(32)));
    expect(change().actor).toMatchObject({ id: 'alice_dba', assurance: 'verified', reason: 'session_forged' });
  });

  test('a later true one replaces it: the role or a setting changed', () => {
    const { say, change } = open();
    say('session', sealed(FACTS, '7'));
    say('session', sealed({ ...FACTS, role: 'owner' }, '7'));
    expect(change().actor).toMatchObject({ id: 'alice_dba', db_role: 'owner', assurance: 'verified' });
  });

  test('the 64-bit transaction id is compared with the log’s 32 bits', () => {
    const { say, change } = open();
    say('session', sealed(FACTS, String(2n ** 32n + 7n)));
    expect(change().actor).toMatchObject({ assurance: 'verified' });
  });
});
