import { Command } from 'commander';
import { AuditError } from '../../errors/audit-error.ts';
import { checkProof } from '../../ledger/proof.ts';
import type { VerifyReport } from '../../ledger/verify/report.ts';
import { verifyLedger } from '../../ledger/verify/verify.ts';
import { readHeadFile, readInput } from '../head-file.ts';
import { showProgress } from '../progress.ts';
import { VERDICTS, verifyText } from '../verify-text.ts';

interface VerifyCommandOptions {
  readonly key: readonly string[];
  readonly head: readonly string[];
  readonly from?: number;
  readonly source?: string;
  readonly json?: true;
  readonly proof?: string;
  readonly record?: string;
}

const VERIFIER_KEY = /^[^+\s]+\+[0-9a-f]{8}\+\S+$/u;

const EXIT: Readonly<Record<VerifyReport['verdict'], number>> = { verified: 0, tampered: 1, incomplete: 2 };

/** `changetrail verify`: is this the ledger that was signed? */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('check a ledger against its signed head; needs the directory and the public key, nothing else')
    .argument('[dir]', 'data directory or ledger directory', './changetrail-data')
    .option('-k, --key <vkey>', 'public key (name+hash+base64) or a file with one a line; may be repeated', collect, [])
    .option('--head <file...>', 'heads kept elsewhere: checkpoints, or head records as a sink got them', [])
    .option('--from <index>', 'leave out the records before', parseIndex)
    .option('--source <name>', 'check the continuity of this source only')
    .option('--proof <file>', 'check a proof that prove wrote, with --record and --key; no directory is needed')
    .option('--record <file>', 'the record the proof is about')
    .option('--json', 'the answer as JSON on standard output')
    .addHelpText(
      'after',
      `
Exit codes: 0 verified; 1 tampered or contradictory; 2 cannot tell (something is missing or cannot be read, another key
signed, or the command line is wrong).

Whoever holds the signing key can rewrite the ledger and sign it again. Only a head that is kept elsewhere shows that:
give the newest head record your SIEM holds, or the file of an anchor, with --head.

Examples:
  changetrail verify ./changetrail-data --key audit.vkey
  changetrail verify /mnt/evidence/ledger --key "$(cat audit.vkey)" --head siem-head.json --json
  changetrail verify --proof record-48213.tlog-proof --record record-48213.json --key audit.vkey`,
    )
    .action(async (directory: string, options: VerifyCommandOptions) => {
      if (options.proof === undefined && options.record !== undefined) {
        throw new AuditError('AUD_CLI_USAGE', { message: '--record goes with --proof.' });
      }
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
  const progress = showProgress('verified');
  const started = Date.now();
  const report = await verifyLedger({
    directory,
    keys,
    heads: options.head.map((name) => ({ name, bytes: readHeadFile(name) })),
    onProgress: (done, total) => progress.update(done, total),
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.source === undefined ? {} : { source: options.source }),
  }).finally(() => progress.clear());
  process.stdout.write(
    options.json === true ? `${JSON.stringify(report)}\n` : verifyText(report, Date.now() - started),
  );
  process.exitCode = EXIT[report.verdict];
}

function verifyProof(path: string, keys: readonly string[], options: VerifyCommandOptions): void {
  if (options.record === undefined || keys.length === 0) {
    throw new AuditError('AUD_CLI_USAGE', {
      message: 'A proof is checked against a record and a key.',
      action: 'Add --record <file> and --key <vkey>: changetrail prove wrote the record beside the proof.',
    });
  }
  const record = readInput(options.record);
  const line = record.at(-1) === 0x0a ? record.subarray(0, -1) : record;
  const { verdict, text, ...answer } = judgeProof(readInput(path).toString('utf8'), line, keys);
  process.stdout.write(options.json === true ? `${JSON.stringify({ verdict, ...answer })}\n` : `${text}\n`);
  process.exitCode = EXIT[verdict];
}

interface ProofAnswer {
  readonly verdict: VerifyReport['verdict'];
  readonly text: string;
  readonly index?: number;
  readonly origin?: string;
  readonly size?: number;
  readonly message?: string;
}

function judgeProof(proof: string, line: Buffer, keys: readonly string[]): ProofAnswer {
  try {
    const { index, head } = checkProof(proof, line, keys);
    const { origin, size } = head;
    const text = `${VERDICTS.verified}  This is record ${index} of ${origin}, under its signed head of ${size} records.`;
    return { verdict: 'verified', text, index, origin, size };
  } catch (error) {
    if (!(error instanceof AuditError) || error.code !== 'AUD_LEDGER_PROOF') throw error;
    const verdict = error.data['verdict'] === 'tampered' ? 'tampered' : 'incomplete';
    return { verdict, text: `${VERDICTS[verdict]}  ${error.message}`, message: error.message };
  }
}

function collect(text: string, before: readonly string[]): string[] {
  return [...before, text];
}

/** Keys as they are, or those in a file, one a line. */
function readKeys(text: string): string[] {
  const given = VERIFIER_KEY.test(text);
  const lines = (given ? text : readInput(text).toString('utf8')).split('\n').map((line) => line.trim());
  const keys = lines.filter((line) => line !== '' && !line.startsWith('#'));
  const wrong = keys.find((line) => !VERIFIER_KEY.test(line));
  if (keys.length > 0 && wrong === undefined) return keys;
  throw new AuditError('AUD_CLI_USAGE', {
    message: `${text} holds ${wrong === undefined ? 'no public key' : 'something else than public keys'}.`,
    action: 'Give the file that changetrail keys export-public wrote, or the key itself: name+hash+base64.',
  });
}

function parseIndex(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new AuditError('AUD_CLI_USAGE', {
      message: `--from takes an index, not "${text}".`,
      action: 'Give the index of a record: a whole number from 0 on.',
    });
  return Number(text);
}
