// Ed25519 signing keys: made, read from the forms people keep them in, written.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { AuditError } from '../errors/audit-error.ts';
import { ED25519, isKeyName, parseVerifierKey, type Signer, verifierKeyText } from '../ledger/note.ts';

const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');
const SEED_BYTES = 32;
const TEXT_FORM = /^PRIVATE\+KEY\+([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/u;

/** A signing key and the name it signs under. */
export interface SigningKey {
  readonly name: string;
  readonly privateKey: KeyObject;
  /** `name+hash+base64`, to be given to whoever verifies. */
  readonly vkey: string;
}

function signingKey(name: string, privateKey: KeyObject): SigningKey {
  if (!isKeyName(name)) {
    throw new AuditError('AUD_KEY_INVALID', {
      message: `"${name}" cannot be the origin of a ledger: it must not be empty, nor hold white space or a plus sign.`,
    });
  }
  const raw = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x!, 'base64url');
  return { name, privateKey, vkey: verifierKeyText(name, ED25519, raw) };
}

export function generateSigningKey(name: string): SigningKey {
  return signingKey(name, generateKeyPairSync('ed25519').privateKey);
}

/** The one-line form that Go's x/mod/sumdb/note and its kin read: `PRIVATE+KEY+name+hash+base64`. */
export function signingKeyText({ name, privateKey, vkey }: SigningKey): string {
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url');
  const id = parseVerifierKey(vkey).id;
  return `PRIVATE+KEY+${name}+${id}+${Buffer.concat([Buffer.from([ED25519]), seed]).toString('base64')}`;
}

/**
 * Reads `PRIVATE+KEY+…` or a PKCS#8 PEM; a PEM carries no name, so `name` is needed for it. `where` is named in errors,
 * the text never is.
 * @throws AUD_KEY_INVALID
 */
export function parseSigningKey(text: string, where: string, name: string | null): SigningKey {
  const line = text.trim();
  const match = TEXT_FORM.exec(line);
  if (match !== null) return fromText(match[1]!, match[3]!, where);
  if (!line.startsWith('-----BEGIN')) throw invalid(where, 'it is neither PRIVATE+KEY+… nor a PKCS#8 PEM');
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(line);
  } catch {
    throw invalid(where, 'the PEM cannot be read (encrypted ones are not supported)');
  }
  if (privateKey.asymmetricKeyType !== 'ed25519') throw invalid(where, 'it is not an Ed25519 key');
  if (name === null) throw invalid(where, 'a PEM has no name; set the origin of the ledger in the configuration');
  return signingKey(name, privateKey);
}

function fromText(name: string, base64: string, where: string): SigningKey {
  const material = Buffer.from(base64, 'base64');
  if (material.length !== 1 + SEED_BYTES || material[0] !== ED25519) throw invalid(where, 'it is not an Ed25519 key');
  const der = Buffer.concat([PKCS8, material.subarray(1)]);
  return signingKey(name, createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
}

function invalid(where: string, why: string): AuditError {
  return new AuditError('AUD_KEY_INVALID', {
    message: `The signing key in ${where} cannot be used: ${why}.`,
    action: 'Give an Ed25519 key as PKCS#8 PEM or as PRIVATE+KEY+name+hash+base64.',
  });
}

/** A signer that holds its key. */
export function localSigner({ privateKey, vkey }: SigningKey): Signer {
  return { key: parseVerifierKey(vkey), sign: async (text) => sign(null, text, privateKey) };
}
