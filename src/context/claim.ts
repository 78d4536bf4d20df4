/**
 * The form of a signed claim: what an application says about who acts, in a form that another role able to write SQL cannot
 * make up or copy. Pure functions over text; no key, clock or import here, so that signer and verifier share one file.
 *
 * A claim is a JWS in compact form (RFC 7515): `base64url(header).base64url(payload).base64url(signature)`, the signature
 * over the ASCII bytes of `header.payload`. Any JWT library can make one.
 *
 *     header   {"alg":"EdDSA" | "HS256", "kid":"<key id>", "typ":"changetrail-actor+jwt"}
 *     payload  {"iat":<seconds>, "exp":<seconds>, "jti":"<nonce>", "aud":"<audience>"?, "xid":"<transaction id>"?,
 *               "actor":{"id":"alice","type":"user", … the same keys as an unsigned message … }}
 *
 * The message (PostgreSQL) or context document (MongoDB) of a signed actor is `{"claim":"<compact text>"}`. Other keys may
 * stand beside `claim`; they are not signed.
 *
 * What a verifier does, in this order; the first failure is the reason recorded, and the actor stays `claimed`:
 *
 *  1. `malformed`   – `parseClaim` returns null.
 *  2. `unknown_key` – no key has the id `kid`, or the key's own algorithm is not `alg`. The algorithm always comes from the
 *     key, never from the claim (RFC 8725, 3.1). `key_retired` – `iat` lies outside of the time the key is for.
 *  3. `forged`      – the signature does not fit.
 *  4. `not_yet_valid` / `expired` – the transaction's commit time lies before `iat` or behind `exp`, by more than the allowed
 *     clock skew. The commit time, not the time of reading: capture may lag or catch up. A life longer than the verifier
 *     allows is `expired` too.
 *  5. `wrong_audience` – `aud` is there and is not the name that the source has in the configuration of the capture.
 *  6. `wrong_transaction` – `xid` is there and is not this transaction: see `sameTransactionId`.
 *  7. `replayed`    – the same `jti` was seen in another transaction. In the same transaction it may come again, and a
 *     redelivery of that transaction after a restart is the same transaction. A `jti` is remembered until `exp` plus skew;
 *     `replay_unknown` – more are alive than the verifier can remember.
 *
 * Whether it verifies or not, the keys of `actor` replace the keys of the same name beside the claim: they are what the
 * claim says. The keys that stand beside it and not in it are never better than `claimed`.
 *
 * A copied claim: a copy committed after the original is `replayed`. A copy committed before it wins, and the original is
 * `replayed`, so the theft is seen but not prevented; a claim with `xid` is of no use in any other transaction.
 */

/** `typ` of a claim. Explicit, so that a session token signed with the same key never passes for a claim (RFC 8725, 3.11). */
export const CLAIM_TYPE = 'changetrail-actor+jwt';

/** Longest claim that is looked at, in characters. */
export const CLAIM_MAX_LENGTH = 65_536;

/** The JWS names of the algorithms: Ed25519 (RFC 8037) and HMAC-SHA-256 (RFC 7518). */
export type ClaimAlgorithm = 'EdDSA' | 'HS256';

export interface ClaimHeader {
  readonly alg: ClaimAlgorithm;
  readonly kid: string;
}

export interface ClaimPayload {
  /** When it was signed, whole seconds since 1970. */
  readonly iat: number;
  /** From when on it is no longer valid, whole seconds since 1970. */
  readonly exp: number;
  /** A random text, used in one transaction only. */
  readonly jti: string;
  /** The source it is meant for, by its name in the configuration of the capture. */
  readonly aud?: string;
  /** The one transaction it is meant for: PostgreSQL's `pg_current_xact_id()` as decimal text. */
  readonly xid?: string;
  /** What is claimed: the object of an unsigned message. Its values are unchecked. */
  readonly actor: Readonly<Record<string, unknown>>;
}

/** A claim taken apart. Nothing in it is verified. */
export interface ParsedClaim {
  readonly header: ClaimHeader;
  readonly payload: ClaimPayload;
  /** `header.payload`: its ASCII bytes are what is signed. */
  readonly signed: string;
  readonly signature: Uint8Array;
}

/** The text that is signed for a header and a payload. `payload.actor` is given as JSON text. */
export function claimSigningInput(
  header: ClaimHeader,
  payload: Omit<ClaimPayload, 'actor'>,
  actorJson: string,
): string {
  const head = JSON.stringify({ alg: header.alg, kid: header.kid, typ: CLAIM_TYPE });
  const { iat, exp, jti, aud, xid } = payload;
  const rest = JSON.stringify({ iat, exp, jti, aud, xid });
  return `${base64url(head)}.${base64url(`${rest.slice(0, -1)},"actor":${actorJson}}`)}`;
}

/** Takes a claim apart; null when it is not of the form described above. Never throws, whatever the text. */
export function parseClaim(text: string): ParsedClaim | null {
  if (text.length > CLAIM_MAX_LENGTH) return null;
  const parts = text.split('.', 4);
  if (parts.length !== 3 || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part))) return null;
  const [head, body, signature] = parts as [string, string, string];
  const header = parseHeader(parseObject(head));
  const payload = parsePayload(parseObject(body));
  if (header === null || payload === null) return null;
  return { header, payload, signed: `${head}.${body}`, signature: Buffer.from(signature, 'base64url') };
}

/**
 * Compares `xid` of a claim with the transaction id the log gives. `pg_current_xact_id()` counts in 64 bits, the log's
 * transaction id is its low 32 bits.
 */
export function sameTransactionId(claimed: string, logged: string): boolean {
  if (!/^\d{1,20}$/.test(claimed) || !/^\d{1,20}$/.test(logged)) return false;
  return BigInt.asUintN(32, BigInt(claimed)) === BigInt.asUintN(32, BigInt(logged));
}

function base64url(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url');
}

function parseObject(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return isObject(value) ? value : null;
  } catch {
    return null; // Not JSON, or nested deeper than the parser goes: not a claim.
  }
}

function parseHeader(value: Record<string, unknown> | null): ClaimHeader | null {
  // `crit` names extensions that must be understood (RFC 7515, 4.1.11); none is.
  if (value === null || value['typ'] !== CLAIM_TYPE || 'crit' in value) return null;
  const { alg, kid } = value;
  if ((alg !== 'EdDSA' && alg !== 'HS256') || !isShortText(kid)) return null;
  return { alg, kid };
}

function parsePayload(value: Record<string, unknown> | null): ClaimPayload | null {
  if (value === null) return null;
  const { iat, exp, jti, aud, xid, actor } = value;
  if (!isSeconds(iat) || !isSeconds(exp) || !isShortText(jti) || !isObject(actor)) return null;
  if ((aud !== undefined && !isShortText(aud)) || (xid !== undefined && !isShortText(xid))) return null;
  return {
    iat,
    exp,
    jti,
    ...(aud === undefined ? {} : { aud }),
    ...(xid === undefined ? {} : { xid }),
    actor,
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isShortText(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= 256;
}
