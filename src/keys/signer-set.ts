// Who signs for a ledger now: the keys of the configuration, or else the ring of the data directory.
import { readFileSync, statSync } from 'node:fs';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import { parseVerifierKey, type Signer, type VerifierKey } from '../ledger/note.ts';
import type { Logger } from '../telemetry/log.ts';
import { commandSigner } from './command-signer.ts';
import type { KeySource } from './key-options.ts';
import { Keyring, newOrigin } from './keyring.ts';
import { localSigner, parseSigningKey } from './private-key.ts';

export interface SignerSet {
  /** The name that all of them sign under. */
  readonly origin: string;
  /** Those that sign now; never empty. Cheap: to be asked at each signature, so that a rotation needs no restart. */
  current(): readonly Signer[];
  /** Those whose heads are this ledger's own: also keys that sign no more. */
  known(): readonly VerifierKey[];
}

export interface SignerOptions {
  /** Directory of the ring. */
  readonly directory: string;
  /** Keys of the configuration; all of them sign. Empty: the ring. */
  readonly keys: readonly KeySource[];
  /** Origin in the configuration, if any. */
  readonly origin: string | null;
  /** Origin of the ledger that is there, if any. */
  readonly existing: string | null;
  readonly log: Logger;
  now(): number;
}

/** @throws AUD_KEY_MISSING, AUD_KEY_INVALID */
export function openSigners(options: SignerOptions): SignerSet {
  const { origin, existing } = options;
  if (origin !== null && existing !== null && origin !== existing) {
    throw new AuditError('AUD_KEY_INVALID', {
      message: `The configuration names the origin ${origin}, but the ledger is signed as ${existing}.`,
      action: 'Correct the origin: a ledger keeps its name. Run changetrail recover to begin one under a new name.',
    });
  }
  return options.keys.length > 0 ? configuredSigners(options) : ringSigners(options);
}

function configuredSigners({ keys, origin, existing, directory, log }: SignerOptions): SignerSet {
  const name = origin ?? existing;
  const signers = keys.map((source) => signerOf(source, name, log));
  const first = signers[0]!.key.name;
  const other = signers.find(({ key }) => key.name !== (name ?? first));
  if (other !== undefined) {
    throw new AuditError('AUD_KEY_INVALID', {
      message: `A signing key is named ${other.key.name}, but the ledger is ${name ?? first}.`,
      action: 'Give keys of one name, the origin of the ledger.',
    });
  }
  const ring = new Keyring(directory);
  return {
    origin: name ?? first,
    current: () => signers,
    // A ledger that the ring began may be signed on by other keys.
    known: () => [...signers.map(({ key }) => key), ...ringKeys(ring, name ?? first)],
  };
}

function signerOf(source: KeySource, name: string | null, log: Logger): Signer {
  if ('command' in source) return commandSigner(source.command, source.vkey);
  if ('file' in source) return localSigner(parseSigningKey(readKeyFile(source.file, log), source.file, name));
  const text = process.env[source.env];
  if (text === undefined) {
    throw new AuditError('AUD_KEY_MISSING', {
      message: `The environment variable ${source.env} with the signing key is not set.`,
    });
  }
  return localSigner(parseSigningKey(text, `the variable ${source.env}`, name));
}

function readKeyFile(path: string, log: Logger): string {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) {
      log.warn(
        { event: 'key_file_open', path },
        `Others than its owner may read the signing key ${path}; chmod 600 it.`,
      );
    }
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AuditError('AUD_KEY_MISSING', {
      message: `The signing key ${path} cannot be read: ${messageOf(cause)}.`,
      cause,
    });
  }
}

function ringSigners({ directory, origin, existing, log, now }: SignerOptions): SignerSet {
  const ring = new Keyring(directory);
  const name = existing ?? origin ?? lastName(ring) ?? newOrigin();
  if (ring.signers(name, now()).length === 0) {
    if (existing !== null) {
      throw new AuditError('AUD_KEY_MISSING', {
        message: `There is no key in ${directory} to sign for ${existing}.`,
        action: 'Give the key back, or run changetrail recover to begin a new ledger with a new key.',
      });
    }
    const { vkey } = ring.add(name, now());
    log.info(
      { event: 'key_created', vkey },
      `Created the signing key of this ledger. Give auditors its public key: ${vkey}`,
    );
  }
  let version = ring.version();
  let loaded = ring.signers(name, now());
  let expires = nextExpiry(ring, now());
  return {
    origin: name,
    current() {
      if (ring.version() !== version || now() >= expires) {
        version = ring.version();
        loaded = ring.signers(name, now());
        expires = nextExpiry(ring, now());
      }
      return loaded;
    },
    known: () => ringKeys(ring, name),
  };
}

function ringKeys(ring: Keyring, name: string): VerifierKey[] {
  const keys = ring.entries().map(({ vkey }) => parseVerifierKey(vkey));
  return keys.filter((key) => key.name === name);
}

/** The newest name in the ring, for a ledger whose first start ended before its first head. */
function lastName(ring: Keyring): string | null {
  const vkey = ring.entries().at(-1)?.vkey;
  return vkey === undefined ? null : vkey.slice(0, vkey.indexOf('+'));
}

function nextExpiry(ring: Keyring, nowMs: number): number {
  const ends = ring.entries().map(({ until }) => (until === null ? Number.POSITIVE_INFINITY : Date.parse(until)));
  return Math.min(Number.POSITIVE_INFINITY, ...ends.filter((end) => end > nowMs));
}
