import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { checkProof } from '../../ledger/proof.ts';
import { type VerifyReport, verifyLedger } from '../../ledger/verify/verify.ts';
import { progressBar } from '../progress.ts';
import { verifyText } from '../verify-text.ts';

interface VerifyCommandOptions {
  readonly key: readonly string[];
  readonly head: readonly string[];
  readonly from?: number;
  readonly source?: string;
  readonly json?: true;
  readonly proof?: string;
  readonly record?: string;
}

const EXIT: Readonly<Record<VerifyReport['verdict'], number>> = { verified: 0, tampered: 1, incomplete: 2 };

/** `changetrail verify`: is this the ledger that was signed? */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('check a ledger against its signed head; needs the directory and the public key, nothing else')
    .argument('[dir]', 'data directory or ledger directory', './changetrail-data')
    .option('-k, --key <vkey...>', 'public key (name+hash+base64) or a file with one a line', [])
    .option('--head <file...>', 'heads kept elsewhere: checkpoints, or head records as a sink got them', [])
    .option('--from <index>', 'leave out the records before', parseIndex)
    .option('--source <name>', 'check the continuity of this source only')
    .option('--proof <file>', 'check a proof that prove wrote, with --record and --key; no directory is needed')
    .option('--record <file>', 'the record the proof is about')
    .option('--json', 'the answer as JSON on standard output')
    .addHelpText(
      'after',
      `
Exit codes: 0 verified, 1 tampered or contradictory, 2 cannot tell (something is missing, or another key signed).

Whoever holds the signing key can rewrite the ledger and sign it again. Only a head that is kept elsewhere shows that:
give the newest head record your SIEM holds, or the file of an anchor, with --head.

Examples:
  changetrail verify ./changetrail-data --key audit.vkey
  changetrail verify /mnt/evidence/ledger --key "$(cat audit.vkey)" --head siem-head.json --json
  changetrail verify --proof record-48213.tlog-proof --record record-48213.json --key audit.vkey`,
    )
    .action(async (directory: string, options: VerifyCommandOptions) => {
      const keys = options.key.flatMap(readKeys);
      if (options.proof === undefined) await verifyDirectory(directory, keys, options);
      else verifyProof(options.proof, keys, options);
    });
}

async function verifyDirectory(
  directory: string,
  keys: readonly string[],
  options: VerifyCommandOptions,
): Promise<void> {
  const bar = progressBar('verified', options.json === true);
  const started = Date.now();
  const report = await verifyLedger({
    directory,
    keys,
    heads: options.head.map((name) => ({ name, bytes: readHeadBytes(name) })),
    onProgress: (done, total) => bar.update(done, total),
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.source === undefined ? {} : { source: options.source }),
  }).finally(() => bar.clear());
  process.stdout.write(
    options.json === true ? `${JSON.stringify(report)}\n` : verifyText(report, Date.now() - started),
  );
  process.exitCode = EXIT[report.verdict];
}

function verifyProof(path: string, keys: readonly string[], options: VerifyCommandOptions): void {
  if (options.record === undefined || keys.length === 0) {
    throw new AuditError('AUD_CLI_USAGE', { message: 'A proof is checked with --record <file> and --key <vkey>.' });
  }
  const record = readInput(options.record);
  const line = record.at(-1) === 0x0a ? record.subarray(0, -1) : record;
  const { index, head } = checkProof(readInput(path).toString('utf8'), line, keys);
  const answer = { verdict: 'verified', index, origin: head.origin, size: head.size };
  process.stdout.write(
    options.json === true
      ? `${JSON.stringify(answer)}\n`
      : `verified: this is record ${index} of ${head.origin}, under its head of ${head.size} records\n`,
  );
}

/** A key as it is, or those in a file, one a line. */
function readKeys(text: string): string[] {
  if (/^[^+\s]+\+[0-9a-f]{8}\+/u.test(text)) return [text.trim()];
  const lines = readInput(text).toString('utf8').split('\n');
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
}

/** A checkpoint, or the one in a head record as JSON (also inside what a sink made of it). */
function readHeadBytes(path: string): Buffer {
  const bytes = readInput(path);
  if (bytes[0] !== 0x7b) return bytes;
  let note: string | null;
  try {
    note = findNote(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    throw new AuditError('AUD_CLI_USAGE', { message: `${path} is neither a checkpoint nor one JSON record.`, cause });
  }
  if (note === null)
    throw new AuditError('AUD_CLI_USAGE', { message: `${path} holds no head: there is no "checkpoint" in it.` });
  return Buffer.from(note, 'utf8');
}

function findNote(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'checkpoint' && typeof inner === 'string') return inner;
    const found = findNote(inner);
    if (found !== null) return found;
  }
  return null;
}

function readInput(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new AuditError('AUD_CLI_USAGE', { message: `${path} cannot be read: ${messageOf(cause)}.`, cause });
  }
}

function parseIndex(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new AuditError('AUD_CLI_USAGE', { message: `--from takes an index, not "${text}".` });
  return Number(text);
}
