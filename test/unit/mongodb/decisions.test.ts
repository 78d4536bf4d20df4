import { BSONRegExp, MongoNetworkError, MongoServerError } from 'mongodb';
import { describe, expect, test } from 'vitest';
import type { Deployment } from '../../../connectors/mongodb/client.ts';
import { oneRouterUrl, splitsLargeEvents } from '../../../connectors/mongodb/client.ts';
import { historyLost, isEventTooLarge, isTokenUnreadable, mongoError } from '../../../connectors/mongodb/errors.ts';
import { ImageState } from '../../../connectors/mongodb/image-state.ts';
import { mongodbOptions } from '../../../connectors/mongodb/options.ts';
import { collectionMatcher } from '../../../connectors/mongodb/patterns.ts';
import { formatPosition, parsePosition } from '../../../connectors/mongodb/position.ts';
import { type GapCause, otherHistory, restartTime, whereItStands } from '../../../connectors/mongodb/resume.ts';
import { isHighWaterMark, operationIndex, tokenTime } from '../../../connectors/mongodb/resume-token.ts';
import type { ResumePoint } from '../../../src/core/connector.ts';

const NOTHING: ResumePoint = {
  last: null,
  lastKind: null,
  position: null,
  state: null,
  started: null,
  ledgerBehind: false,
  schemas: [],
};
const at = (seconds: number, increment = 1) => ({ seconds, increment });
const saved = (seconds: number, seq: number, token: string | null = null, database: string | null = null) =>
  formatPosition({ time: at(seconds), seq, token, database });
/** Where a stream of the whole cluster stands. */
const standing = (more: Partial<ResumePoint>) => whereItStands({ ...NOTHING, ...more }, null);

describe('where a stream goes on', () => {
  test('a ledger that never saw the source stands nowhere', () => {
    expect(standing({})).toBeNull();
  });

  test('the position counts when no later record is there', () => {
    const token = '820000000A0000000129';
    expect(standing({ position: saved(10, -1, token) })).toMatchObject({
      time: at(10),
      held: { time: at(10), seq: -1 },
      proof: token,
    });
    expect(standing({ position: saved(10, -1, 'no token') })).toMatchObject({ proof: null });
    expect(standing({ position: saved(10, 3), last: { ts: '10.1', seq: 1 } })).toMatchObject({
      time: at(10),
      held: { seq: 3 },
    });
  });

  test('a token proves something to a stream that has its event only', () => {
    const token = '820000000A0000000129';
    const proofFor = (database: string | null, of: string | null) =>
      whereItStands({ ...NOTHING, position: saved(10, -1, token, of) }, database)!.proof;
    expect(proofFor(null, null)).toBe(token);
    expect(proofFor(null, 'shop')).toBe(token);
    expect(proofFor('shop', 'shop')).toBe(token);
    expect(proofFor('shop', null)).toBeNull();
    expect(proofFor('shop', 'crm')).toBeNull();
  });

  test('a later record counts, from the start of its transaction', () => {
    expect(standing({ position: saved(10, -1), last: { ts: '11.1', seq: 7 } })).toMatchObject({
      time: at(11),
      held: { time: at(11), seq: 7, partOnly: false },
    });
    expect(standing({ last: { ts: '11.1', seq: 0, part: 1 } })).toMatchObject({
      held: { partOnly: true },
    });
  });

  test('a position that is not one counts as none', () => {
    for (const text of ['', 'x', '{}', '{"ts":"1.1"}', '{"ts":"a.b","seq":1}', 'null'])
      expect(parsePosition(text)).toBeNull();
  });

  const deployment = (more: Partial<Deployment> = {}): Deployment => ({
    version: '6.0.5',
    setName: 'rs0',
    replicaSetId: 'A',
    sharded: false,
    now: at(100),
    authentication: true,
    splitsLargeEvents: false,
    ...more,
  });
  const state = (more = {}) => ({ replica_set_id: 'A', set_name: 'rs0', users: [], images: [], ...more });
  const stands = standing({ position: saved(50, -1) })!;

  test.each([
    ['the same set', state(), deployment(), null],
    ['another set of the same name', state(), deployment({ replicaSetId: 'B' }), 'other_cluster'],
    ['an id that may not be read any more', state(), deployment({ replicaSetId: null }), null],
    [
      'another name, without ids',
      state({ replica_set_id: null }),
      deployment({ setName: 'rs1', replicaSetId: null }),
      'other_cluster',
    ],
    ['nothing remembered', null, deployment({ replicaSetId: 'B' }), null],
    ['a server that has not come as far: a restored copy', state(), deployment({ now: at(49) }), 'server_behind'],
    ['a server that stands just there', state(), deployment({ now: at(50) }), null],
  ] as const)('%s', (_what, before, now, cause) => {
    expect(otherHistory(stands, before, now)).toBe(cause);
  });

  test('after a loss it goes on now, or at the configured time', () => {
    const newYear = { seconds: 1767225600, increment: 1 };
    const start = (policy: string, cause: GapCause, before = stands) => restartTime(policy, at(100, 7), before, cause);
    expect(start('now', 'oplog_rolled_over')).toEqual(at(100, 8));
    expect(start('2026-01-01T00:00:00Z', 'oplog_rolled_over')).toEqual(newYear);
    // What the ledger holds is not recorded again, unless it is another history.
    const later = standing({ position: saved(newYear.seconds + 5, -1) })!;
    expect(start('2026-01-01T00:00:00Z', 'oplog_rolled_over', later)).toEqual(at(100, 8));
    expect(start('2026-01-01T00:00:00Z', 'other_cluster', later)).toEqual(newYear);
  });
});

describe('resume tokens', () => {
  const event = (index: string) =>
    `826B063D27000000242B022C0100${index}6E5A10043088BF43E6624F7AAECBF36ED20B4D75461E5F6964002B020004`;

  test('tell the time, the kind and the place in the transaction', () => {
    expect(tokenTime(event('29'))).toEqual({ seconds: 0x6b063d27, increment: 0x24 });
    expect(operationIndex(event('29'))).toBe(0);
    expect(operationIndex(event('2B02'))).toBe(1);
    expect(operationIndex(event('2BFE'))).toBe(127);
    expect(operationIndex(event('2C0100'))).toBe(128);
    expect(operationIndex(event('2D020000'))).toBe(65536);
    expect(isHighWaterMark('826B063D27000000122B0229296E04')).toBe(true);
    expect(isHighWaterMark(event('29'))).toBe(false);
  });

  test('of an unknown form tell nothing', () => {
    for (const token of ['', '82', '83000000010000000129', 'zz', '826B063D27000000xx']) {
      expect(tokenTime(token)).toBeNull();
      expect(operationIndex(token)).toBeNull();
    }
    expect(operationIndex(`826B063D2700000024FF`)).toBeNull();
  });
});

describe('collection patterns', () => {
  test('the last one that fits decides; the first dot divides', () => {
    const { matches } = collectionMatcher(['shop.*', '!shop.s?crets', 'shop.secrets.open', 'logs']);
    expect(['orders', 'secrets', 'sacrets', 'secrets.open', 'a.b.c'].map((c) => matches('shop', c))).toEqual([
      true,
      false,
      false,
      true,
      true,
    ]);
    expect(matches('logs', 'any')).toBe(true);
    expect(matches('shopping', 'orders')).toBe(false);
    expect(collectionMatcher(['*']).matches('any', 'thing.at.all')).toBe(true);
  });

  test('patterns without a collection are told', () => {
    const { unused } = collectionMatcher(['shop.*', 'shop.oders', '!x.y']);
    expect(unused([{ database: 'shop', collection: 'orders' }])).toEqual(['shop.oders']);
  });

  test('the server compares literal names and matches wildcards only where it must', () => {
    expect(collectionMatcher(['*']).serverFilter).toBeNull();
    expect(collectionMatcher(['shop.*', 'crm']).serverFilter).toBeNull();
    expect(collectionMatcher(['shop.*', 'crm', 'x.log']).serverFilter).toEqual({
      $or: [{ 'ns.db': { $in: ['shop', 'crm'] } }, { 'ns.db': 'x', 'ns.coll': { $in: ['log'] } }],
    });
    expect(collectionMatcher(['shop.a', 'shop.b', 'x.log_*']).serverFilter).toEqual({
      $or: [
        { 'ns.db': 'shop', 'ns.coll': { $in: ['a', 'b'] } },
        { 'ns.db': 'x', 'ns.coll': { $regex: '^log_.*$', $options: 's' } },
      ],
    });
    for (const pattern of ['*', 'shop.*']) {
      expect(collectionMatcher([pattern, '!shop.sessions']).serverFilter).toEqual({
        $nor: [{ 'ns.db': 'shop', 'ns.coll': 'sessions' }],
      });
    }
    // Included again later: the exclusion must not reach the server.
    expect(collectionMatcher(['*', '!shop.sessions', 'shop.sessions']).serverFilter).toBeNull();
  });

  test('the oplog is asked for the captured collections and for commands', () => {
    expect(collectionMatcher(['*']).oplogFilter).toEqual({});
    expect(collectionMatcher(['*', '!shop.sessions']).oplogFilter).toEqual({ ns: { $nin: ['shop.sessions'] } });
    expect(collectionMatcher(['shop.*', 'crm.a.b', '!shop.sessions']).oplogFilter).toEqual({
      ns: { $in: [new BSONRegExp('^shop\\..*$', 's'), 'crm.a.b', 'admin.$cmd'], $nin: ['shop.sessions'] },
    });
  });

  test('regular expression characters in names are themselves', () => {
    const { matches } = collectionMatcher(['shop.a+b(c)']);
    expect(matches('shop', 'a+b(c)')).toBe(true);
    expect(matches('shop', 'aab(c)')).toBe(false);
  });
});

describe('images by collection', () => {
  test('follow the definitions', () => {
    const images = new ImageState(['shop.a']);
    const apply = (object: object, after?: unknown) => images.apply(object as Record<string, unknown>, after);
    apply({ database: 'shop', collection: 'b' }, { changeStreamPreAndPostImages: { enabled: true } });
    apply({ database: 'shop', collection: 'a' }, { indexes: [] });
    expect(images.names()).toEqual(['shop.a', 'shop.b']);
    apply({ database: 'shop', collection: 'a' }, { to: { db: 'shop', coll: 'c' } });
    apply({ database: 'shop', collection: 'b' }, { changeStreamPreAndPostImages: { enabled: false } });
    expect(images.names()).toEqual(['shop.c']);
    apply({ database: 'shop', collection: 'c' });
    expect(images.names()).toEqual([]);
    images.set('shop', 'x', true);
    images.set('shopping', 'x', true);
    apply({ database: 'shop' });
    expect(images.names()).toEqual(['shopping.x']);
  });
});

describe('errors of the server', () => {
  const server = (code: number, errmsg = 'no') => new MongoServerError({ code, errmsg });

  test.each([
    [286, 'oplog_rolled_over'],
    [136, 'oplog_rolled_over'],
    [280, 'resume_token_not_found'],
    [260, 'resume_token_invalid'],
    [13, null],
    [10334, null],
  ])('%i means %s', (code, cause) => {
    expect(historyLost(server(code))).toBe(cause);
    if (cause !== null)
      expect(mongoError(server(code), 'docs')).toMatchObject({ code: 'AUD_MONGO_HISTORY_LOST', retry: 'soon' });
  });

  test('what servers say of a token that they cannot read is told from a refused user and a rolled oplog', () => {
    const codes = [260, 9, 15, 50795, 50796, 50811, 51055, 51057];
    expect(codes.every((code) => isTokenUnreadable(server(code)))).toBe(true);
    expect([13, 18, 286, 11600].some((code) => isTokenUnreadable(server(code)))).toBe(false);
  });

  test('an event, or a piece of one, that is too large is told from everything else', () => {
    expect([10334, 7182500, 286].map((code) => isEventTooLarge(server(code)))).toEqual([true, true, false]);
  });

  test.each([
    [18, 'AUD_MONGO_AUTH', 'after_operator'],
    [13, 'AUD_MONGO_RIGHTS', 'after_operator'],
    [40573, 'AUD_MONGO_STANDALONE', 'after_operator'],
    [43, 'AUD_MONGO_SERVER', 'soon'],
    [11600, 'AUD_MONGO_SERVER', 'soon'],
  ])('%i is %s, tried again %s', (code, expected, retry) => {
    expect(mongoError(server(code), 'docs')).toMatchObject({ code: expected, retry });
  });

  test('what is no answer of the server is a lost connection, without the password', () => {
    const error = mongoError(new MongoNetworkError('connect mongodb://u:geheim@h failed'), 'docs');
    expect(error).toMatchObject({ code: 'AUD_MONGO_CONNECT', retry: 'soon' });
    expect(error.message).not.toContain('geheim');
    expect(mongoError(new TypeError('x is undefined'), 'docs')).toMatchObject({ code: 'AUD_INTERNAL', retry: 'never' });
  });
});

test('servers that split large events', () => {
  expect(['6.0.5', '6.0.8', '6.0.9', '6.1.0', '7.0.0', '8.0.4-rc1'].map(splitsLargeEvents)).toEqual([
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
});

test('of several mongos one is kept to', () => {
  const url = 'mongodb://u:p@a:1,b:2,c:3/admin?tls=true';
  expect([0, 0.5, 0.99].map((pick) => oneRouterUrl(url, pick))).toEqual([
    'mongodb://u:p@a:1/admin?tls=true',
    'mongodb://u:p@b:2/admin?tls=true',
    'mongodb://u:p@c:3/admin?tls=true',
  ]);
  expect(oneRouterUrl('mongodb://a,b', 0)).toBe('mongodb://a');
  expect(oneRouterUrl('mongodb+srv://x.example', 0)).toBe('mongodb+srv://x.example/?srvMaxHosts=1');
  expect(oneRouterUrl('mongodb+srv://x.example/?a=b', 0)).toBe('mongodb+srv://x.example/?a=b&srvMaxHosts=1');
});

test('options have defaults and refuse unknown keys', () => {
  expect(mongodbOptions.parse({ type: 'mongodb', url: 'mongodb://h' })).toMatchObject({
    collections: ['*'],
    scope: 'cluster',
    setup: 'manual',
    on_history_lost: 'now',
  });
  expect(() => mongodbOptions.parse({ type: 'mongodb', url: 'mongodb://h', tables: [] })).toThrow();
  expect(() => mongodbOptions.parse({ type: 'mongodb', url: 'mongodb://h', collections: ['.x'] })).toThrow();
});
