import { Command } from 'commander';
import { parseDuration } from '../../config/units.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { type KeyEntry, Keyring } from '../../keys/keyring.ts';
import { type DataLayout, dataLayout } from '../../ledger/layout.ts';
import { parseVerifierKey } from '../../ledger/note.ts';
import { readCheckpoint } from '../../ledger/tree.ts';
import { readTreeState } from '../../ledger/tree-state.ts';
import { configOption } from '../configured.ts';
import { dataDirectory, dataOption } from '../data-directory.ts';
import { durationArgument } from '../signals.ts';

interface KeysOptions {
  readonly config: string;
  readonly data?: string;
  readonly json?: true;
  readonly overlap?: string;
}

/** `changetrail keys`: the signing keys of the data directory. */
export function keysCommand(): Command {
  const keys = new Command('keys').description('show, rotate or export the keys that sign the ledger');
  keys.addHelpText(
    'after',
    `
These are the keys that run creates in the data directory. Keys given in the configuration (ledger.keys) are rotated
there: list the new one beside the old one, and remove the old one after a while.

Examples:
  changetrail keys show
  changetrail keys export-public > audit.vkey      what an auditor needs
  changetrail keys rotate --overlap 30d`,
  );
  const sub = (name: string, description: string) =>
    new Command(name).description(description).addOption(configOption()).addOption(dataOption());
  keys.addCommand(sub('show', 'which keys there are and which of them sign').option('--json', 'as JSON').action(show));
  keys.addCommand(
    sub('rotate', 'make a new key; the one before goes on signing for a while')
      .option('--overlap <duration>', 'how long both sign', durationArgument, '7d')
      .action(rotate),
  );
  keys.addCommand(sub('export-public', 'print the public keys that sign, one a line').action(exportPublic));
  return keys;
}

interface Keys {
  readonly ring: Keyring;
  readonly origin: string;
  /** Of this origin, oldest first. */
  readonly entries: readonly KeyEntry[];
}

/** The ring, or null when it is empty: the configuration names the keys, or nothing has run yet. */
function openRing(layout: DataLayout): Keys | null {
  const ring = new Keyring(layout.keys);
  const all = ring.entries();
  const newest = all.at(-1);
  if (newest === undefined) return null;
  const origin = readCheckpoint(layout.ledger)?.origin ?? parseVerifierKey(newest.vkey).name;
  return { ring, origin, entries: all.filter(({ vkey }) => parseVerifierKey(vkey).name === origin) };
}

/** The keys of the configuration that signed last. @throws AUD_KEY_MISSING */
function configuredKeys(layout: DataLayout): readonly string[] {
  const keys = readTreeState(layout.treeState)?.keys ?? [];
  if (keys.length > 0) return keys;
  throw new AuditError('AUD_KEY_MISSING', {
    message: `There are no keys in ${layout.keys}, and nothing was signed in ${layout.data} yet.`,
    action: 'Start changetrail run: it creates a key, or signs with those of the configuration.',
  });
}

function isSigning({ until }: KeyEntry): boolean {
  return until === null || Date.parse(until) > Date.now();
}

async function show(options: KeysOptions): Promise<void> {
  const layout = dataLayout(await dataDirectory(options));
  const opened = openRing(layout);
  const given = opened === null ? configuredKeys(layout) : [];
  const origin = opened?.origin ?? parseVerifierKey(given[0]!).name;
  if (options.json === true) {
    const own = (opened?.entries ?? []).map((entry) => ({ ...entry, from: 'data directory', signs: isSigning(entry) }));
    const keys = [...own, ...given.map((vkey) => ({ vkey, from: 'configuration', signs: true }))];
    process.stdout.write(`${JSON.stringify({ origin, keys })}\n`);
    return;
  }
  process.stdout.write(`origin  ${origin}\n`);
  for (const vkey of given) process.stdout.write(`key     ${vkey}\n        signs; given in the configuration\n`);
  for (const entry of opened?.entries ?? []) {
    const state =
      entry.until === null ? 'signs' : isSigning(entry) ? `signs until ${entry.until}` : `signed until ${entry.until}`;
    process.stdout.write(`key     ${entry.vkey}\n        since ${entry.since}, ${state}\n`);
  }
}

async function rotate(options: KeysOptions): Promise<void> {
  const layout = dataLayout(await dataDirectory(options));
  const opened = openRing(layout);
  if (opened === null) {
    throw new AuditError('AUD_KEY_MISSING', {
      message: `There is no key in ${layout.keys} to rotate.`,
      action:
        'Keys of the configuration (ledger.keys) are rotated there; otherwise changetrail run creates the first one.',
    });
  }
  const { ring, origin } = opened;
  const key = ring.add(origin, Date.now(), parseDuration(options.overlap!));
  process.stderr.write(
    `A running changetrail signs with the new key from its next head on, and says so in a record. The one before signs for ${options.overlap} more.\nGive this public key to whoever verifies:\n`,
  );
  process.stdout.write(`${key.vkey}\n`);
}

async function exportPublic(options: KeysOptions): Promise<void> {
  const layout = dataLayout(await dataDirectory(options));
  const opened = openRing(layout);
  const keys =
    opened === null ? configuredKeys(layout) : opened.entries.filter(isSigning).map((entry: KeyEntry) => entry.vkey);
  for (const vkey of keys) process.stdout.write(`${vkey}\n`);
}
