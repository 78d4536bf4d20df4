// Signed notes, verifier keys and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature). No files.
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AuditError } from '../errors/audit-error.ts';
import { HASH_BYTES, sha256 } from './merkle.ts';

/** Ed25519 over the note's text. */
export const ED25519 = 1;
/** A timestamped Ed25519 signature of a witness over a checkpoint. */
export const COSIGNATURE = 4;

const SPKI = Buffer.from('302a300506032b6570032100', 'hex');
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** A public key with the name it goes by: `name+hash+base64`. */
export interface VerifierKey {
  readonly name: string;
  /** Eight hexadecimal digits. */
  readonly id: string;
  readonly type: typeof ED25519 | typeof COSIGNATURE;
  readonly key: KeyObject;
  /** The text it was read from. */
  readonly text: string;
}

function invalidKey(why: string): AuditError {
  return new AuditError('AUD_KEY_INVALID', {
    message: `This is not a verifier key: ${why}.`,
    action: 'Give it as changetrail keys export-public prints it: name+hash+base64.',
  });
}

/** Names take no white space and no plus sign. */
export function isKeyName(name: string): boolean {
  return name.length > 0 && !/[\s+]/u.test(name);
}

export function keyId(name: string, type: number, raw: Buffer): string {
  const material = Buffer.concat([Buffer.from(`${name}\n`, 'utf8'), Buffer.from([type]), raw]);
  return sha256(material).toString('hex', 0, 4);
}

/** The verifier key of a raw 32-byte Ed25519 public key. */
export function verifierKeyText(name: string, type: typeof ED25519 | typeof COSIGNATURE, raw: Buffer): string {
  return `${name}+${keyId(name, type, raw)}+${Buffer.concat([Buffer.from([type]), raw]).toString('base64')}`;
}

/** @throws AUD_KEY_INVALID */
export function parseVerifierKey(text: string): VerifierKey {
  // The base64 part may hold a plus sign: only the first two separate.
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/u.exec(text.trim());
  if (match === null) throw invalidKey('it has not the form name+hash+base64');
  const [, name, id, base64] = match as unknown as [string, string, string, string];
  const material = Buffer.from(base64, 'base64');
  const type = material[0];
  if (material.length !== 1 + KEY_BYTES || (type !== ED25519 && type !== COSIGNATURE)) {
    throw invalidKey('it is not an Ed25519 key');
  }
  const raw = material.subarray(1);
  if (keyId(name, type, raw) !== id) throw invalidKey('its hash does not belong to its name and key');
  const key = createPublicKey({ key: Buffer.concat([SPKI, raw]), format: 'der', type: 'spki' });
  return { name, id, type, key, text: text.trim() };
}

export interface NoteSignature {
  readonly name: string;
  readonly id: string;
  /** What follows the four bytes of the id. */
  readonly bytes: Buffer;
  /** The line as it stands, without its line feed. */
  readonly line: string;
}

export interface Note {
  /** What is signed, with its last line feed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const SIGNATURE_LINE = /^\u2014 ([^+\s]+) ([A-Za-z0-9+/]+=*)$/u;

function badNote(why: string): AuditError {
  return new AuditError('AUD_LEDGER_PROOF', { message: `This is not a signed note: ${why}.` });
}

/**
 * Takes a signed note apart. Strict: base64 must be the one way to write its bytes, so that no bit of it is free.
 * @throws AUD_LEDGER_PROOF
 */
export function parseNote(bytes: Buffer | string): Note {
  const whole = typeof bytes === 'string' ? bytes : bytes.toString('utf8');
  if (typeof bytes !== 'string' && !Buffer.from(whole, 'utf8').equals(bytes)) throw badNote('it is not UTF-8');
  const cut = whole.lastIndexOf('\n\n');
  if (cut === -1 || !whole.endsWith('\n')) throw badNote('no signatures follow an empty line');
  const lines = whole.slice(cut + 2, -1).split('\n');
  return { text: whole.slice(0, cut + 1), signatures: lines.map(parseSignature) };
}

function parseSignature(line: string): NoteSignature {
  const match = SIGNATURE_LINE.exec(line);
  if (match === null) throw badNote('a signature line is malformed');
  const [, name, base64] = match as unknown as [string, string, string];
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length < 5 || bytes.toString('base64') !== base64) throw badNote('a signature is not base64');
  return { name, id: bytes.toString('hex', 0, 4), bytes: bytes.subarray(4), line };
}

/** What a key says of a note. `absent`: it did not sign. */
export type Signed = 'valid' | 'invalid' | 'absent';

export function checkSignature(note: Note, key: VerifierKey): Signed {
  let result: Signed = 'absent';
  for (const signature of note.signatures) {
    if (signature.name !== key.name || signature.id !== key.id) continue;
    if (!isSignedBy(note.text, signature.bytes, key)) return 'invalid';
    result = 'valid';
  }
  return result;
}

function isSignedBy(text: string, bytes: Buffer, key: VerifierKey): boolean {
  if (key.type === ED25519) {
    return bytes.length === SIGNATURE_BYTES && verify(null, Buffer.from(text, 'utf8'), key.key, bytes);
  }
  if (bytes.length !== 8 + SIGNATURE_BYTES) return false;
  const message = `cosignature/v1\ntime ${bytes.readBigUInt64BE(0)}\n${text}`;
  return verify(null, Buffer.from(message, 'utf8'), key.key, bytes.subarray(8));
}

/** When a witness says it saw the checkpoint, in seconds since 1970. */
export function cosignedAt(note: Note, key: VerifierKey): number | null {
  const signature = note.signatures.find(({ name, id }) => name === key.name && id === key.id);
  return signature === undefined ? null : Number(signature.bytes.readBigUInt64BE(0));
}

/** What a checkpoint says: this origin's tree has `size` entries and this root. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`;
}

/** @throws AUD_LEDGER_PROOF */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, size, base64, ...rest] = text.split('\n') as [string, string?, string?, ...string[]];
  const root = Buffer.from(base64 ?? '', 'base64');
  const known = origin !== '' && /^(0|[1-9]\d{0,15})$/.test(size ?? '') && Number.isSafeInteger(Number(size));
  if (!known || root.length !== HASH_BYTES || root.toString('base64') !== base64 || rest.join('') !== '') {
    throw new AuditError('AUD_LEDGER_PROOF', {
      message: 'This is not a checkpoint: it must have an origin, a size and a root, a line each.',
    });
  }
  return { origin, size: Number(size), root };
}

/** A checkpoint with the note that carries it. */
export interface Head extends Checkpoint {
  readonly note: Note;
  /** The whole note, as it stands in a file. */
  readonly noteText: string;
}

/** Reads a checkpoint in its note; no signature is checked. @throws AUD_LEDGER_PROOF */
export function parseHead(bytes: Buffer | string): Head {
  const note = parseNote(bytes);
  return { ...parseCheckpoint(note.text), note, noteText: typeof bytes === 'string' ? bytes : bytes.toString('utf8') };
}

/** Makes signatures for notes. */
export interface Signer {
  readonly key: VerifierKey;
  /** The 64 bytes of the Ed25519 signature. @throws AUD_KEY_SIGN */
  sign(text: Buffer): Promise<Buffer>;
}

/** The note of a text, signed by all of the signers. @throws AUD_KEY_SIGN */
export async function signNote(text: string, signers: readonly Signer[]): Promise<string> {
  const bytes = Buffer.from(text, 'utf8');
  const lines = await Promise.all(
    signers.map(async ({ key, sign }) => {
      const blob = Buffer.concat([Buffer.from(key.id, 'hex'), await sign(bytes)]);
      return `\u2014 ${key.name} ${blob.toString('base64')}\n`;
    }),
  );
  return `${text}\n${lines.join('')}`;
}

/** Adds signature lines of witnesses to a note. */
export function withSignatures(noteText: string, lines: readonly string[]): string {
  return noteText + lines.map((line) => `${line}\n`).join('');
}
