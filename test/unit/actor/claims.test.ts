import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { actorOptions } from '../../../src/actor/options.ts';
import { ClaimVerifier, claimId } from '../../../src/actor/verifier.ts';
import { parseClaim } from '../../../src/context/claim.ts';
import { createSigner } from '../../../src/context/signer.ts';
import { stageWith } from './harness.ts';

const COMMIT = Date.parse('2026-01-01T00:00:00Z');
const SECOND = 1000;
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');
const SECRET = 'a secret that is long enough for HMAC';
const PEM = publicKey.export({ type: 'spki', format: 'pem' }) as string;
const keys = [
  { id: 'ed', algorithm: 'EdDSA', key: PEM },
  { id: 'mac', algorithm: 'HS256', key: SECRET },
];

interface Sign {
  readonly keyId?: string;
  readonly at?: number;
  readonly life?: number;
  readonly audience?: string;
  readonly xid?: string;
  readonly key?: typeof privateKey;
}

function signed(actor: object, { keyId = 'ed', at = COMMIT, life = 60, audience, xid, key = privateKey }: Sign = {}) {
  const secret = keyId === 'mac' ? { secret: SECRET } : { privateKey: key };
  const signer = createSigner({
    keyId,
    lifetimeSeconds: life,
    now: () => at,
    ...secret,
    ...(audience ? { audience } : {}),
  });
  return signer.sign(JSON.stringify(actor), xid === undefined ? {} : { transactionId: xid });
}

function judge(claim: string, options: object = {}, id = '7', at = COMMIT) {
  const stage = stageWith({ claims: { keys, ...options } });
  stage.begin(id, at);
  stage.say('message', { claim });
  return { ...stage.change(), reasons: stage.metrics.snapshot().reasons };
}

const VERIFIED = { assurance: 'verified', via: 'message' };
const claimed = (reason: string) => ({ id: 'alice', assurance: 'claimed', via: 'message', reason });

describe('a signed claim', () => {
  test.each(['ed', 'mac'])('by a known key (%s) is verified', (keyId) => {
    expect(judge(signed({ id: 'alice', type: 'user', ticket: 5 }, { keyId }))).toEqual({
      actor: { id: 'alice', type: 'user', ...VERIFIED, claim: expect.stringMatching(/^[\w-]{22}$/) },
      context: { ticket: 5 },
      reasons: {},
    });
  });

  test('the Ed25519 key may be given as 32 bytes in base64, the secret as base64', () => {
    const raw = publicKey.export({ format: 'jwk' }).x!;
    const secret = `base64:${Buffer.from(SECRET).toString('base64')}`;
    const both = [
      { id: 'ed', algorithm: 'EdDSA', key: Buffer.from(raw, 'base64url').toString('base64') },
      { id: 'mac', algorithm: 'HS256', key: secret },
    ];
    expect(judge(signed({ id: 'alice' }), { keys: both }).actor['assurance']).toBe('verified');
    expect(judge(signed({ id: 'alice' }, { keyId: 'mac' }), { keys: both }).actor['assurance']).toBe('verified');
  });

  test('what stands beside it never looks signed', () => {
    const { begin, say, change } = stageWith({ claims: { keys } });
    begin('7', COMMIT);
    say('message', { claim: signed({ id: 'alice', b: 2 }), id: 'eve', client: '6.6.6.6', b: 1, note: 'n' });
    expect(change()).toEqual({
      actor: { id: 'alice', ...VERIFIED, claim: expect.any(String), unsigned: ['note'] },
      context: { b: 2, note: 'n' },
    });
  });

  test('many keys beside it are not all listed', () => {
    const { begin, say, change } = stageWith({ claims: { keys } });
    begin('7', COMMIT);
    const beside = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`${'k'.repeat(100)}${i}`, 1]));
    say('message', { claim: signed({ id: 'alice' }), ...beside });
    const unsigned = change().actor['unsigned'] as string[];
    expect(unsigned).toHaveLength(8);
    expect(unsigned[0]).toBe('k'.repeat(64));
  });

  test('that is not verified still says what it says, and the rest beside it', () => {
    const { begin, say, change } = stageWith({ claims: { keys: [] } });
    begin('7', COMMIT);
    say('message', { claim: signed({ id: 'alice' }), id: 'eve', client: '6.6.6.6', note: 'n' });
    expect(change()).toEqual({
      actor: { id: 'alice', client: '6.6.6.6', assurance: 'claimed', via: 'message', reason: 'claim_unknown_key' },
      context: { note: 'n' },
    });
  });

  test('expires by the commit’s time, however late it is read, and with the allowed skew', () => {
    const claim = () => signed({ id: 'alice' }, { at: COMMIT, life: 60 });
    expect(judge(claim(), {}, '7', COMMIT + 90 * SECOND).actor).toMatchObject(VERIFIED);
    expect(judge(claim(), {}, '7', COMMIT + 91 * SECOND)).toEqual({
      actor: claimed('claim_expired'),
      reasons: { claim_expired: 1 },
    });
    expect(judge(claim(), { skew: 0 }, '7', COMMIT + 61 * SECOND).actor['reason']).toBe('claim_expired');
    expect(judge(claim(), {}, '7', COMMIT - 30 * SECOND).actor).toMatchObject(VERIFIED);
    expect(judge(claim(), {}, '7', COMMIT - 31 * SECOND).actor['reason']).toBe('claim_not_yet_valid');
  });

  test('that would live longer than allowed is expired from the start', () => {
    expect(judge(signed({ id: 'alice' }, { life: 901 })).actor['reason']).toBe('claim_expired');
    expect(judge(signed({ id: 'alice' }, { life: 901 }), { max_life: 901 }).actor['assurance']).toBe('verified');
  });

  test('by another private key under a known id is forged', () => {
    expect(judge(signed({ id: 'alice' }, { key: other.privateKey }))).toEqual({
      actor: claimed('claim_forged'),
      reasons: { claim_forged: 1 },
    });
  });

  test('whose payload was changed is forged', () => {
    const [head, body, signature] = signed({ id: 'bob' }).split('.') as [string, string, string];
    const changed = JSON.parse(Buffer.from(body, 'base64url').toString());
    changed.actor.id = 'alice';
    const forged = `${head}.${Buffer.from(JSON.stringify(changed)).toString('base64url')}.${signature}`;
    expect(judge(forged).actor).toEqual(claimed('claim_forged'));
  });

  test('cannot choose the algorithm: the public key is no HMAC secret', () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const head = part({ alg: 'HS256', kid: 'ed', typ: 'changetrail-actor+jwt' });
    const body = part({ iat: COMMIT / 1000, exp: COMMIT / 1000 + 60, jti: 'x', actor: { id: 'alice' } });
    const mac = createHmac('sha256', PEM).update(`${head}.${body}`).digest('base64url');
    expect(judge(`${head}.${body}.${mac}`).actor['reason']).toBe('claim_unknown_key');
  });

  test('of the wrong audience or transaction is only claimed', () => {
    expect(judge(signed({ id: 'alice' }, { audience: 'other' })).actor['reason']).toBe('claim_wrong_audience');
    expect(judge(signed({ id: 'alice' }, { audience: 'shop' })).actor).toMatchObject(VERIFIED);
    expect(judge(signed({ id: 'alice' }, { xid: '8' })).actor['reason']).toBe('claim_wrong_transaction');
    expect(judge(signed({ id: 'alice' }, { xid: '7' })).actor).toMatchObject(VERIFIED);
    // The function gives 64 bits, the log 32.
    expect(judge(signed({ id: 'alice' }, { xid: '4294967303' })).actor).toMatchObject(VERIFIED);
  });

  test('of broken form is named so, and the plain fields beside it count as claimed', () => {
    const { begin, say, change } = stageWith({ claims: { keys } });
    begin('7', COMMIT);
    say('message', { claim: 'a.b', id: 'alice' });
    expect(change()).toEqual({ actor: claimed('claim_malformed') });
    say('message', { claim: 5, id: 'alice' });
    expect(change()).toEqual({ actor: { id: 'alice', assurance: 'claimed', via: 'message' }, context: { claim: 5 } });
  });
});

describe('a claim used again', () => {
  const run = (options: object = {}) => {
    const stage = stageWith({ claims: { keys, ...options } });
    return (id: string, claim: string, at = COMMIT) => {
      stage.begin(id, at);
      stage.say('message', { claim });
      return stage.change().actor['reason'] ?? stage.change().actor['assurance'];
    };
  };

  test('in another transaction is replayed, in the same one it is not', () => {
    const judgeIn = run();
    const claim = signed({ id: 'alice' });
    expect(judgeIn('7', claim)).toBe('verified');
    expect(judgeIn('8', claim)).toBe('claim_replayed');
    expect(judgeIn('7', claim)).toBe('verified');
    expect(judgeIn('8', claim)).toBe('claim_replayed');
  });

  test('by a redelivery after a restart is verified again, and its copy is still found', () => {
    const claim = signed({ id: 'alice' });
    run()('7', claim);
    const afterRestart = run();
    expect(afterRestart('7', claim)).toBe('verified');
    expect(afterRestart('8', claim)).toBe('claim_replayed');
  });

  test('is found in a later run that was told which claims were used, and the same transaction is verified there', () => {
    const claim = signed({ id: 'alice' });
    const used = { id: claimId(parseClaim(claim)!), tx: '7', timeMs: COMMIT };
    const later = (id: string) => {
      const stage = stageWith({ claims: { keys } }, [used]);
      stage.begin(id, COMMIT + SECOND);
      stage.say('message', { claim });
      return stage.change().actor;
    };
    expect(later('8')).toEqual(claimed('claim_replayed'));
    expect(later('7')).toMatchObject({ ...VERIFIED, claim: used.id });
  });

  test('a forged copy does not use up the nonce of the true one', () => {
    const judgeIn = run();
    const claim = signed({ id: 'alice' });
    expect(judgeIn('6', `${claim.slice(0, -4)}AAAA`)).toBe('claim_forged');
    expect(judgeIn('7', claim)).toBe('verified');
  });

  test('is forgotten only when it has expired, so memory is bounded and no replay passes', () => {
    const judgeIn = run({ remember: 100, skew: 0 });
    const first = signed({ id: 'alice' });
    expect(judgeIn('1', first)).toBe('verified');
    for (let i = 2; i <= 100; i++) expect(judgeIn(String(i), signed({ id: 'a' }))).toBe('verified');
    expect(judgeIn('101', signed({ id: 'a' }))).toBe('claim_replay_unknown');
    expect(judgeIn('102', first)).toBe('claim_replayed');
    const later = COMMIT + 200 * SECOND;
    expect(judgeIn('103', signed({ id: 'a' }, { at: later }), later)).toBe('verified');
    expect(judgeIn('104', first, later)).toBe('claim_expired');
  });
});

describe('keys', () => {
  test('rotate: each is good for claims issued in its time', () => {
    const rotated = [
      { id: 'ed', algorithm: 'EdDSA', key: PEM, until: '2025-12-31T23:59:59Z' },
      { id: 'mac', algorithm: 'HS256', key: SECRET, from: '2025-12-31T00:00:00Z' },
    ];
    expect(judge(signed({ id: 'alice' }), { keys: rotated }).actor['reason']).toBe('claim_key_retired');
    expect(judge(signed({ id: 'alice' }, { keyId: 'mac' }), { keys: rotated }).actor['assurance']).toBe('verified');
    const early = COMMIT - 86_401 * SECOND;
    const before = signed({ id: 'alice' }, { keyId: 'mac', at: early });
    expect(judge(before, { keys: rotated }, '7', early).actor['reason']).toBe('claim_key_retired');
  });

  test.each([
    ['two of one id', [keys[0], keys[0]], /two keys/],
    ['too short', [{ id: 'k', algorithm: 'HS256', key: 'short' }], /5 bytes/],
    [
      'no key',
      [{ id: 'k', algorithm: 'EdDSA', key: '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----' }],
      /PEM/,
    ],
    ['of another length', [{ id: 'k', algorithm: 'EdDSA', key: 'AAAA' }], /32 bytes/],
    [
      'private',
      [{ id: 'k', algorithm: 'EdDSA', key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }],
      /private key/,
    ],
    [
      'of another kind',
      [
        {
          id: 'k',
          algorithm: 'EdDSA',
          key: generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'pem' }) as string,
        },
      ],
      /Ed25519/,
    ],
  ])('that are %s are refused at start, without their text in the error', (_what, bad, message) => {
    let error: unknown;
    try {
      stageWith({ claims: { keys: bad } });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'AUD_CONFIG_INVALID', message: expect.stringMatching(message) });
    expect(String(error)).not.toContain(String(bad[0]!.key).slice(-20));
  });

  test('a claim of any JWT library is read', () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const iat = COMMIT / 1000;
    const input = `${part({ typ: 'changetrail-actor+jwt', kid: 'ed', alg: 'EdDSA' })}.${part({
      actor: { id: 'alice' },
      jti: randomBytes(8).toString('hex'),
      exp: iat + 5,
      iat,
      iss: 'shop',
    })}`;
    expect(judge(`${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`).actor).toMatchObject(
      VERIFIED,
    );
  });

  test('the verifier remembers a nonce by key: two keys may use the same one', () => {
    const options = actorOptions.parse({ claims: { keys } }).claims;
    const verifier = new ClaimVerifier(options, 'shop');
    const claim = parseClaim(signed({ id: 'a' }))!;
    const twin = { ...claim, header: { ...claim.header, kid: 'mac' } };
    const use = (one: typeof claim, id: string) => verifier.use(one, claimId(one), { id, timeMs: COMMIT });
    expect(use(claim, '1')).toBeNull();
    expect(use(twin, '2')).toBeNull();
    expect(use(claim, '2')).toBe('replayed');
  });
});
