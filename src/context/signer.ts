/** Signs what an application says about who acts, so that another role able to write SQL cannot say it. */
import { createHmac, createPrivateKey, createSecretKey, KeyObject, randomBytes, sign } from 'node:crypto';
import { type ClaimAlgorithm, claimSigningInput } from './claim.ts';

/** Default life of a claim. It must outlast the transaction: the verifier looks at the commit time. */
const DEFAULT_LIFETIME_SECONDS = 300;
/** RFC 7518, 3.2: a key as long as the hash. */
const MIN_SECRET_BYTES = 32;
const NONCE_BYTES = 16;

/** What may differ from claim to claim. */
export interface ClaimOptions {
  /** Binds the claim to one PostgreSQL transaction: `pg_current_xact_id()` as text. */
  readonly transactionId?: string;
}

export interface SignerOptions {
  /** Names the key; the same id stands in the configuration of the capture. 1 to 256 printable ASCII characters. */
  readonly keyId: string;
  /** Ed25519: the private key, as a KeyObject or PKCS #8 PEM. Give this or `secret`. */
  readonly privateKey?: KeyObject | string;
  /** HMAC-SHA-256: the shared secret, at least 32 bytes. */
  readonly secret?: Uint8Array | string;
  /** How long a claim is valid, in seconds; longer than the longest transaction. Default 300. */
  readonly lifetimeSeconds?: number;
  /** The source the claims are meant for, by its name in the configuration of the capture; refused elsewhere. */
  readonly audience?: string;
  /** Binds every claim to its PostgreSQL transaction, at the cost of one more round trip. Default false. */
  readonly bindTransaction?: boolean;
  /** Milliseconds since 1970; for tests. */
  readonly now?: () => number;
}

/** Makes claims. Safe to share; keeps no state between claims. */
export interface Signer {
  readonly bindTransaction: boolean;
  /** Signs JSON text of an actor into a compact claim, with a new nonce. */
  sign(actorJson: string, options?: ClaimOptions): string;
}

/**
 * Makes a signer from a key.
 * @throws TypeError when the key is missing, of another kind, or too short.
 * @example
 * configureSigner(createSigner({ keyId: 'shop-2026', privateKey: process.env.ACTOR_KEY }));
 */
export function createSigner(options: SignerOptions): Signer {
  const { keyId, audience, lifetimeSeconds = DEFAULT_LIFETIME_SECONDS, now = Date.now } = options;
  if (!/^[\x21-\x7e]{1,256}$/.test(keyId)) {
    throw new TypeError('changetrail: a signer needs a keyId of 1 to 256 printable ASCII characters.');
  }
  if (audience !== undefined && (audience === '' || audience.length > 256)) {
    throw new TypeError('changetrail: the audience of a signer has 1 to 256 characters.');
  }
  if (!Number.isSafeInteger(lifetimeSeconds) || lifetimeSeconds < 1) {
    throw new TypeError('changetrail: lifetimeSeconds is a whole number of seconds, at least 1.');
  }
  const { alg, signatureOf } = signatureFunction(options);
  return {
    bindTransaction: options.bindTransaction ?? false,
    sign(actorJson, { transactionId } = {}) {
      const iat = Math.floor(now() / 1000);
      const jti = randomBytes(NONCE_BYTES).toString('base64url');
      const payload = {
        iat,
        exp: iat + lifetimeSeconds,
        jti,
        ...(audience === undefined ? {} : { aud: audience }),
        ...(transactionId === undefined ? {} : { xid: transactionId }),
      };
      const input = claimSigningInput({ alg, kid: keyId }, payload, actorJson);
      return `${input}.${signatureOf(Buffer.from(input, 'ascii')).toString('base64url')}`;
    },
  };
}

// As with the scope: all copies of this library in a process sign alike.
const SIGNER = Symbol.for('changetrail.signer.v1');
const shared = globalThis as { [SIGNER]?: Signer | null };

/** Signs every message of this process from now on; `null` ends it. Call it once, at start. */
export function configureSigner(signer: Signer | null): void {
  shared[SIGNER] = signer;
}

/** The signer of this process, or null. */
export function configuredSigner(): Signer | null {
  return shared[SIGNER] ?? null;
}

function signatureFunction(options: SignerOptions): { alg: ClaimAlgorithm; signatureOf: (input: Buffer) => Buffer } {
  const { privateKey, secret } = options;
  if ((privateKey === undefined) === (secret === undefined)) {
    throw new TypeError('changetrail: a signer needs either privateKey (Ed25519) or secret (HMAC-SHA-256).');
  }
  if (secret !== undefined) {
    const key = createSecretKey(typeof secret === 'string' ? Buffer.from(secret, 'utf8') : secret);
    if ((key.symmetricKeySize ?? 0) < MIN_SECRET_BYTES) {
      throw new TypeError(`changetrail: the secret of a signer has at least ${MIN_SECRET_BYTES} bytes.`);
    }
    return { alg: 'HS256', signatureOf: (input) => createHmac('sha256', key).update(input).digest() };
  }
  const key = privateKey instanceof KeyObject ? privateKey : readPrivateKey(privateKey as string);
  if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') {
    throw new TypeError('changetrail: the privateKey of a signer is an Ed25519 private key.');
  }
  return { alg: 'EdDSA', signatureOf: (input) => sign(null, input, key) };
}

function readPrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // The parser's own message may quote the text it could not read.
    throw new TypeError('changetrail: the privateKey of a signer cannot be read; it is PKCS #8 in PEM form.');
  }
}
