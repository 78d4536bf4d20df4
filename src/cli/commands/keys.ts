import { Command } from 'commander';
import { parseDuration } from '../../config/units.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { type KeyEntry, Keyring } from '../../keys/keyring.ts';
import { dataLayout } from '../../ledger/layout.ts';
import { parseVerifierKey } from '../../ledger/note.ts';
import { readCheckpoint } from '../../ledger/tree.ts';
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

async function openRing(
  options: KeysOptions,
): Promise<{ ring: Keyring; origin: string; entries: readonly KeyEntry[] }> {
  const layout = dataLayout(await dataDirectory(options));
  const ring = new Keyring(layout.keys);
  const all = ring.entries();
  const newest = all.at(-1);
  if (newest === undefined) {
    throw new AuditError('AUD_KEY_MISSING', {
      message: `There are no keys in ${layout.keys}.`,
      action: 'The first changetrail run creates one, unless the configuration names keys.',
    });
  }
  const origin = readCheckpoint(layout.ledger)?.origin ?? parseVerifierKey(newest.vkey).name;
  return { ring, origin, entries: all.filter(({ vkey }) => parseVerifierKey(vkey).name === origin) };
}

function isSigning({ until }: KeyEntry): boolean {
  return until === null || Date.parse(until) > Date.now();
}

async function show(options: KeysOptions): Promise<void> {
  const { origin, entries } = await openRing(options);
  if (options.json === true) {
    const keys = entries.map((entry) => ({ ...entry, signs: isSigning(entry) }));
    process.stdout.write(`${JSON.stringify({ origin, keys })}\n`);
    return;
  }
  process.stdout.write(`origin  ${origin}\n`);
  for (const entry of entries) {
    const state =
      entry.until === null ? 'signs' : isSigning(entry) ? `signs until ${entry.until}` : `signed until ${entry.until}`;
    process.stdout.write(`key     ${entry.vkey}\n        since ${entry.since}, ${state}\n`);
  }
}

async function rotate(options: KeysOptions): Promise<void> {
  const { ring, origin } = await openRing(options);
  const key = ring.add(origin, Date.now(), parseDuration(options.overlap!));
  process.stderr.write(
    `A running changetrail signs with the new key from its next head on, and says so in a record. The one before signs for ${options.overlap} more.\nGive this public key to whoever verifies:\n`,
  );
  process.stdout.write(`${key.vkey}\n`);
}

async function exportPublic(options: KeysOptions): Promise<void> {
  const { entries } = await openRing(options);
  for (const entry of entries.filter(isSigning)) process.stdout.write(`${entry.vkey}\n`);
}
