import { createHmac, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { parseClaim, sameTransactionId } from '../../src/context/claim.ts';
import { actorMessage, configureSigner, createSigner, MESSAGE_MAX_BYTES, withActor } from '../../src/context/index.ts';

const messageOf = (actor: Record<string, unknown>, options = {}) =>
  withActor(actor, () => actorMessage(options)) as string;
const read = (actor: Record<string, unknown>) => JSON.parse(messageOf(actor)) as Record<string, unknown>;

describe('a message', () => {
  test('is one JSON object: the actor’s keys first, then context in its order', () => {
    const actor = { ticket: 881, on_behalf_of: 'carol', id: 'alice', when: new Date(0), type: 'user', gone: undefined };
    expect(messageOf(actor)).toBe(
      '{"id":"alice","type":"user","on_behalf_of":"carol","ticket":881,"when":"1970-01-01T00:00:00.000Z"}',
    );
  });

  test('is nothing when nobody is acting', () => {
    expect(actorMessage()).toBeUndefined();
  });

  test('is pure ASCII and says any text, so that no database encoding can refuse it', () => {
    const text = 'Zoë \u0000 \ud800 日本 😀 \u007f \u2028 \' \\ "';
    const message = messageOf({ id: text, [text]: text });
    expect(message).toMatch(/^[\x20-\x7e]+$/);
    expect(JSON.parse(message)).toEqual({ id: text, [text]: text });
  });

  test('leaves out what cannot be said, and says so', () => {
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    let deep: unknown = 1;
    for (let n = 0; n < 33; n++) deep = [deep];
    let veryDeep: unknown = 1;
    for (let n = 0; n < 200_000; n++) veryDeep = [veryDeep];
    const throwing = {
      toJSON: () => {
        throw new TypeError('no');
      },
    };
    const actor = {
      id: 'a',
      cycle,
      deep,
      veryDeep,
      throwing,
      big: 2n ** 70n,
      fn: () => 1,
      brackets: '[[[['.repeat(20),
    };
    expect(read(actor)).toEqual({
      id: 'a',
      big: '1180591620717411303424',
      brackets: '[[[['.repeat(20),
      truncated: ['cycle', 'deep', 'veryDeep', 'throwing'],
    });
  });

  test('keeps a key named __proto__ as a key', () => {
    const actor = JSON.parse('{"id":"a","__proto__":{"id":"b"}}') as Record<string, unknown>;
    const message = read(actor);
    expect(Object.keys(message)).toEqual(['id', '__proto__']);
    expect(Object.getPrototypeOf(message)).toBe(Object.prototype);
  });

  test('longer than 64 KiB is cut with a mark, the actor last', () => {
    const long = 'é"\\😀'.repeat(40_000);
    const message = messageOf({ reason: long, id: 'alice', after: 'kept?', list: [long] });
    expect(message.length).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
    const parsed = JSON.parse(message) as Record<string, string>;
    expect(parsed['id']).toBe('alice');
    expect(long.startsWith(parsed['reason'] as string)).toBe(true);
    expect(parsed['reason']?.length).toBeGreaterThan(10_000);
    expect(parsed['truncated']).toEqual(['reason', 'after', 'list']);
  });

  test('with very many or very long keys still names some of what was cut', () => {
    const many = Object.fromEntries(
      Array.from({ length: 5000 }, (_, n) => [`日${'k'.repeat(80)}${n}`, 'v'.repeat(50)]),
    );
    const message = messageOf({ id: 'a', ...many });
    expect(message.length).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
    expect((JSON.parse(message) as { truncated: string[] }).truncated.at(-1)).toBe('...');
    const wide = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`${'日'.repeat(80)}${n}`, 'v'.repeat(50)]));
    expect(JSON.parse(messageOf({ id: 'a', ...wide }))).toMatchObject({ id: 'a', truncated: ['...'] });
  });

  test('is valid JSON within the bound for whatever is given', () => {
    const actors = fc.dictionary(
      fc.oneof(fc.constantFrom('id', 'type', 'client', 'reason', '__proto__'), fc.string({ unit: 'binary' })),
      fc.oneof(fc.jsonValue(), fc.string({ unit: 'binary', minLength: 0, maxLength: 60_000 }), fc.bigInt()),
      { maxKeys: 8 },
    );
    fc.assert(
      fc.property(actors, (actor) => {
        const { claim: _claim, truncated: _truncated, ...allowed } = actor;
        const message = messageOf(allowed);
        expect(message.length).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
        expect(message).toMatch(/^[\x20-\x7e]*$/);
        const parsed = JSON.parse(message) as Record<string, unknown>;
        const cut = Array.isArray(parsed['truncated']) ? (parsed['truncated'] as string[]) : [];
        for (const key of Object.keys(allowed)) {
          if (allowed[key] === undefined || Object.hasOwn(parsed, key)) continue;
          expect(cut.some((name) => name === '...' || key.startsWith(name))).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a signed message', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const secret = Buffer.alloc(32, 1);
  afterEach(() => configureSigner(null));

  const claimOf = (message: string) => {
    const parsed = parseClaim((JSON.parse(message) as { claim: string }).claim);
    if (parsed === null) throw new Error('no claim');
    return parsed;
  };

  test('is a claim whose Ed25519 signature fits, short-lived and used once', () => {
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const signer = createSigner({
      keyId: 'shop',
      privateKey: pem,
      lifetimeSeconds: 60,
      audience: 'db',
      now: () => 5_999,
    });
    const message = messageOf({ id: 'alice', reason: 'é' }, { signer, transactionId: '7411' });
    expect(Object.keys(JSON.parse(message))).toEqual(['claim']);
    const { header, payload, signed, signature } = claimOf(message);
    expect(header).toEqual({ alg: 'EdDSA', kid: 'shop' });
    expect(payload).toEqual({
      iat: 5,
      exp: 65,
      jti: expect.stringMatching(/^[\w-]{22}$/),
      aud: 'db',
      xid: '7411',
      actor: { id: 'alice', reason: 'é' },
    });
    expect(verify(null, Buffer.from(signed), publicKey, signature)).toBe(true);
    const other = generateKeyPairSync('ed25519');
    expect(verify(null, Buffer.from(signed), createPublicKey(other.privateKey), signature)).toBe(false);
    expect(claimOf(messageOf({ id: 'alice' }, { signer })).payload.jti).not.toBe(payload.jti);
  });

  test('is made with HMAC-SHA-256 for a secret, and for every message once configured', () => {
    configureSigner(createSigner({ keyId: 'shop', secret }));
    const { header, signed, signature } = claimOf(messageOf({ id: 'alice' }));
    expect(header.alg).toBe('HS256');
    expect(createHmac('sha256', secret).update(signed).digest().equals(signature)).toBe(true);
    expect(messageOf({ id: 'alice' }, { signer: null })).toBe('{"id":"alice"}');
  });

  test('stays within 64 KiB too', () => {
    const signer = createSigner({ keyId: 'k'.repeat(256), secret, audience: '日'.repeat(256) });
    const message = messageOf({ id: 'alice', reason: '日'.repeat(100_000) }, { signer, transactionId: '1'.repeat(20) });
    expect(message.length).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
    expect(claimOf(message).payload.actor['truncated']).toEqual(['reason']);
  });

  test('needs a key that is one', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const wrong = [
      { keyId: '', secret },
      { keyId: 'é', secret },
      { keyId: 'k' },
      { keyId: 'k', secret, privateKey },
      { keyId: 'k', secret: 'short' },
      { keyId: 'k', privateKey: 'not a key' },
      { keyId: 'k', privateKey: publicKey },
      { keyId: 'k', privateKey: rsa.privateKey },
      { keyId: 'k', secret, lifetimeSeconds: 0 },
      { keyId: 'k', secret, audience: '' },
    ];
    for (const options of wrong) expect(() => createSigner(options)).toThrow(TypeError);
  });
});

describe('parseClaim', () => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = { alg: 'EdDSA', kid: 'k', typ: 'changetrail-actor+jwt' };
  const payload = { iat: 1, exp: 2, jti: 'n', actor: { id: 'a' } };
  const claim = (h: unknown, p: unknown) => `${encode(h)}.${encode(p)}.c2ln`;

  test('takes what is of its form', () => {
    expect(parseClaim(claim(header, payload))?.payload).toEqual(payload);
    expect(parseClaim(claim(header, { ...payload, more: 1 }))?.payload).toEqual(payload);
  });

  test('gives null for anything else, and never throws', () => {
    const wrong = [
      '',
      '.',
      '..',
      'a.b.c',
      'a.b.c.d',
      claim(null, payload),
      claim(header, []),
      `${encode(header)}.${encode(payload)}.`,
      claim({ ...header, alg: 'none' }, payload),
      claim({ ...header, typ: 'JWT' }, payload),
      claim({ ...header, crit: [] }, payload),
      claim({ ...header, kid: 1 }, payload),
      claim(header, { ...payload, iat: 1.5 }),
      claim(header, { ...payload, exp: '2' }),
      claim(header, { ...payload, jti: '' }),
      claim(header, { ...payload, actor: null }),
      claim(header, { ...payload, actor: [] }),
      claim(header, { ...payload, aud: 7 }),
      claim(header, { ...payload, xid: {} }),
      `${encode(header)}.${Buffer.from(`{"a":${'['.repeat(30_000)}`).toString('base64url')}.c2ln`,
      'a'.repeat(70_000),
    ];
    for (const text of wrong) expect(parseClaim(text)).toBeNull();
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseClaim(text);
      }),
    );
  });

  test('compares transaction ids in 32 bits', () => {
    expect(sameTransactionId('7411', '7411')).toBe(true);
    expect(sameTransactionId(String(2n ** 32n * 3n + 7411n), '7411')).toBe(true);
    expect(sameTransactionId('7412', '7411')).toBe(false);
    expect(sameTransactionId('', '7411')).toBe(false);
    expect(sameTransactionId('7411', 'x')).toBe(false);
  });
});
