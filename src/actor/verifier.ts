import {
  createHmac,
  createPublicKey,
  createSecretKey,
  hash,
  type KeyObject,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { type ClaimAlgorithm, type ParsedClaim, sameTransactionId } from '../context/claim.ts';
import type { TransactionFacts } from '../core/actor.ts';
import { AuditError } from '../errors/audit-error.ts';
import type { ActorOptions, ClaimKeyOptions } from './options.ts';

/** Why a claim is not verified. Recorded as `claim_<reason>`; the meaning and order stand in src/context/claim.ts. */
export type ClaimReason =
  | 'unknown_key'
  | 'key_retired'
  | 'forged'
  | 'not_yet_valid'
  | 'expired'
  | 'wrong_audience'
  | 'wrong_transaction'
  | 'replayed'
  | 'replay_unknown';

interface Key {
  readonly algorithm: ClaimAlgorithm;
  readonly key: KeyObject;
  /** Seconds since 1970 between which a claim may have been issued. */
  readonly from: number;
  readonly until: number;
}

/** SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key (RFC 8410). */
const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex');
const ED25519_BYTES = 32;
const MIN_HMAC_BYTES = 32;
const BASE64 = 'base64:';
/** Commit times of a log are not strictly in order; a used claim is remembered this many seconds longer than it is valid. */
const REMEMBER_SLACK = 60;

/** A claim that a transaction used, as its records in the ledger say. */
export interface UsedClaim {
  /** From `claimId`. */
  readonly id: string;
  readonly tx: string;
  /** Commit time of the transaction, in milliseconds since 1970. */
  readonly timeMs: number;
}

/** Of 132 bits: nobody finds two nonces with the same one. */
export const CLAIM_ID_LENGTH = 22;

/** A short name for key id and nonce of a claim: `actor.claim` of the records that it vouches for. */
export function claimId(claim: ParsedClaim): string {
  return hash('sha256', `${claim.header.kid}\n${claim.payload.jti}`, 'base64url').slice(0, CLAIM_ID_LENGTH);
}

/** For how many seconds behind a commit a claim used in it may still be alive somewhere. */
export function claimMemorySeconds({ skew, max_life }: ActorOptions['claims']): number {
  return max_life + 2 * skew + REMEMBER_SLACK;
}

/** Checks signed claims against the keys of the configuration and remembers which were used. */
export class ClaimVerifier {
  readonly #keys = new Map<string, Key>();
  readonly #options: ActorOptions['claims'];
  readonly #source: string;
  /** `claimId` of used claims → transaction and the second from which it may be forgotten; oldest first. */
  readonly #used = new Map<string, { readonly tx: string; readonly forget: number }>();

  /**
   * Throws AUD_CONFIG_INVALID for a key that is not one. `source`: the name that claims for one source only must have as their
   * audience. `used`: claims of earlier runs, oldest first.
   */
  constructor(options: ActorOptions['claims'], source: string, used: readonly UsedClaim[] = []) {
    this.#options = options;
    this.#source = source;
    for (const { id, tx, timeMs } of used) {
      this.#used.set(id, { tx, forget: timeMs / 1000 + claimMemorySeconds(options) });
    }
    for (const key of options.keys) {
      if (this.#keys.has(key.id)) throw invalidKey(key.id, 'there are two keys with this id');
      this.#keys.set(key.id, readKey(key));
    }
  }

  /** The part of the check that depends on the claim alone: key and signature. */
  signature(claim: ParsedClaim): ClaimReason | null {
    const key = this.#keys.get(claim.header.kid);
    if (key === undefined || key.algorithm !== claim.header.alg) return 'unknown_key';
    const { iat } = claim.payload;
    if (iat < key.from || iat > key.until) return 'key_retired';
    return signatureFits(key, claim) ? null : 'forged';
  }

  /** The part that depends on the transaction. Call it only for a claim whose signature fits; `id` from `claimId`. */
  use(claim: ParsedClaim, id: string, transaction: TransactionFacts): ClaimReason | null {
    const { iat, exp, aud, xid } = claim.payload;
    const { skew, max_life } = this.#options;
    const second = transaction.timeMs / 1000;
    if (second < iat - skew) return 'not_yet_valid';
    if (second > exp + skew || exp - iat > max_life) return 'expired';
    if (aud !== undefined && aud !== this.#source) return 'wrong_audience';
    if (xid !== undefined && !sameTransactionId(xid, transaction.id)) return 'wrong_transaction';
    return this.#remember(id, transaction.id, second, exp + skew + REMEMBER_SLACK);
  }

  #remember(id: string, tx: string, second: number, forget: number): ClaimReason | null {
    const used = this.#used.get(id);
    if (used !== undefined) return used.tx === tx ? null : 'replayed';
    for (const [old, entry] of this.#used) {
      if (entry.forget >= second) break;
      this.#used.delete(old);
    }
    if (this.#used.size >= this.#options.remember) return 'replay_unknown';
    this.#used.set(id, { tx, forget });
    return null;
  }
}

function signatureFits(key: Key, claim: ParsedClaim): boolean {
  const signed = Buffer.from(claim.signed, 'latin1');
  if (key.algorithm === 'EdDSA') return verify(null, signed, key.key, claim.signature);
  const expected = createHmac('sha256', key.key).update(signed).digest();
  return claim.signature.length === expected.length && timingSafeEqual(claim.signature, expected);
}

function readKey(options: ClaimKeyOptions): Key {
  return {
    algorithm: options.algorithm,
    key: options.algorithm === 'EdDSA' ? publicKey(options) : secretKey(options),
    from: options.from === undefined ? 0 : Date.parse(options.from) / 1000,
    until: options.until === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(options.until) / 1000,
  };
}

function publicKey(options: ClaimKeyOptions): KeyObject {
  try {
    const text = options.key.trim();
    if (text.startsWith('-----BEGIN PRIVATE')) throw invalidKey(options.id, 'it is a private key; give the public one');
    const raw = text.startsWith('-----') ? null : Buffer.from(text, 'base64');
    if (raw !== null && raw.length !== ED25519_BYTES) throw invalidKey(options.id, 'it is not 32 bytes in base64');
    const key =
      raw === null
        ? createPublicKey(text)
        : createPublicKey({ key: Buffer.concat([ED25519_SPKI, raw]), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'ed25519') throw invalidKey(options.id, 'it is not an Ed25519 key');
    return key;
  } catch (error) {
    throw error instanceof AuditError ? error : invalidKey(options.id, 'it is not a public key in PEM');
  }
}

function secretKey(options: ClaimKeyOptions): KeyObject {
  // The text itself, as the signer takes it; bytes that are no text come as `base64:…`.
  const raw = options.key.startsWith(BASE64)
    ? Buffer.from(options.key.slice(BASE64.length), 'base64')
    : Buffer.from(options.key, 'utf8');
  if (raw.length < MIN_HMAC_BYTES) throw invalidKey(options.id, `it has ${raw.length} bytes; 32 are needed`);
  return createSecretKey(raw);
}

function invalidKey(id: string, why: string): AuditError {
  return new AuditError('AUD_CONFIG_INVALID', {
    message: `actors.claims.keys: the key "${id}" cannot be used: ${why}.`,
    action: 'Correct the key in the configuration.',
    retry: 'after_operator',
  });
}
