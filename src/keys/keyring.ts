// The signing keys a data directory keeps itself: made on the first run, rotated with an overlap.
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { makeDirectory, replaceFile } from '../ledger/file-ops.ts';
import { parseVerifierKey, type Signer } from '../ledger/note.ts';
import { generateSigningKey, localSigner, parseSigningKey, type SigningKey, signingKeyText } from './private-key.ts';

/** A key of the ring. */
export interface KeyEntry {
  readonly vkey: string;
  /** ISO 8601. */
  readonly since: string;
  /** Until when it signs; null: it is the newest. */
  readonly until: string | null;
}

interface KeyringFile {
  readonly keys: readonly KeyEntry[];
}

/** Both keys sign for this long after a rotation, so that everybody who verifies can be given the new one in time. */
export const DEFAULT_OVERLAP_MS = 7 * 86_400_000;

const SECRET_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** `keyring.json` says which keys there are; the secret of each stands in a file of its own, mode 0600. */
export class Keyring {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  get path(): string {
    return join(this.#directory, 'keyring.json');
  }

  /** All keys ever, oldest first, of every origin. @throws AUD_KEY_INVALID */
  entries(): readonly KeyEntry[] {
    if (!existsSync(this.path)) return [];
    try {
      const { keys } = JSON.parse(readFileSync(this.path, 'utf8')) as KeyringFile;
      for (const entry of keys) parseVerifierKey(entry.vkey);
      return keys;
    } catch (cause) {
      throw new AuditError('AUD_KEY_INVALID', {
        message: `${this.path} cannot be read.`,
        action: 'Restore it from a copy.',
        cause,
      });
    }
  }

  /** Changes when the ring does. */
  version(): number {
    return existsSync(this.path) ? statSync(this.path).mtimeMs : 0;
  }

  /** The keys that sign for this origin at this time, the newest last. @throws AUD_KEY_MISSING, AUD_KEY_INVALID */
  signers(origin: string, nowMs: number): Signer[] {
    return this.entries()
      .filter(({ vkey, until }) => {
        return parseVerifierKey(vkey).name === origin && (until === null || Date.parse(until) > nowMs);
      })
      .map(({ vkey }) => localSigner(this.#secret(vkey)));
  }

  /** Makes a key; durable on return. Older keys of the origin go on signing until `overlapMs` from now. */
  add(origin: string, nowMs: number, overlapMs = DEFAULT_OVERLAP_MS): SigningKey {
    const key = generateSigningKey(origin);
    const since = new Date(nowMs).toISOString();
    const end = new Date(nowMs + overlapMs).toISOString();
    const older = this.entries().map((entry) => {
      const ends = parseVerifierKey(entry.vkey).name === origin && (entry.until === null || entry.until > end);
      return ends ? { ...entry, until: end } : entry;
    });
    makeDirectory(this.#directory, DIRECTORY_MODE);
    replaceFile(this.#secretPath(key.vkey), `${signingKeyText(key)}\n`, SECRET_MODE);
    const file: KeyringFile = { keys: [...older, { vkey: key.vkey, since, until: null }] };
    replaceFile(this.path, `${JSON.stringify(file, null, 1)}\n`, SECRET_MODE);
    return key;
  }

  #secretPath(vkey: string): string {
    return join(this.#directory, `${parseVerifierKey(vkey).id}.key`);
  }

  #secret(vkey: string): SigningKey {
    const path = this.#secretPath(vkey);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      throw new AuditError('AUD_KEY_MISSING', {
        message: `The signing key ${path} cannot be read.`,
        action: 'Restore it from a copy, or run changetrail recover to begin a new ledger with a new key.',
        cause,
      });
    }
    const key = parseSigningKey(text, path, null);
    if (key.vkey !== vkey) {
      throw new AuditError('AUD_KEY_INVALID', {
        message: `The signing key ${path} is not the one that keyring.json names.`,
        action: 'Restore it from a copy.',
      });
    }
    return key;
  }
}

/** A name for a ledger that nobody named: unique, and saying nothing of the machine. */
export function newOrigin(): string {
  return `changetrail/${randomBytes(8).toString('hex')}`;
}
