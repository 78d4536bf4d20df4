import { Command } from 'commander';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { beginAnew, lastKnownHead } from '../../ledger/begin-anew.ts';
import { type Head, parseHead } from '../../ledger/note.ts';
import { configOption } from '../configured.ts';
import { dataDirectory, dataOption } from '../data-directory.ts';
import { readHeadFile } from '../head-file.ts';

interface RecoverOptions {
  readonly config: string;
  readonly data?: string;
  readonly origin?: string;
  readonly head?: string;
  readonly reason?: string;
  readonly yes?: true;
}

/** `changetrail recover`: the way out when the ledger was rolled back, rewritten or damaged beyond repair. */
export function recoverCommand(): Command {
  return new Command('recover')
    .description('begin a new ledger, under a new name and key, that names the last known head of the old one')
    .addOption(configOption())
    .addOption(dataOption())
    .option('--head <file>', 'a head of the old ledger kept elsewhere, if it is newer than the one here')
    .option('--origin <name>', 'name of the new ledger (default: made up)')
    .option('--reason <text>', 'why; stands in the first record')
    .option('--yes', 'do it; without, it is only said what would be done')
    .addHelpText(
      'after',
      `
The old ledger is not changed: it is kept beside the new one, in the data directory. Sinks get the new ledger from its
start. Sources go on from where they were confirmed; what the old copy lacks is told by a gap record. Needed when run
refuses to start because of a rollback, a fork or damage (AUD_LEDGER_ROLLBACK, AUD_LEDGER_FORK, AUD_LEDGER_CONTRADICTION)
and there is no better copy. Where keys are configured, configure keys of the new name afterwards.

Examples:
  changetrail recover
  changetrail recover --yes --reason "disk restored from the copy of Monday" --head siem-head.txt`,
    )
    .action(async (options: RecoverOptions) => {
      const data = await dataDirectory(options);
      const outside = options.head === undefined ? undefined : outsideHead(options.head, data);
      const known = lastKnownHead(data, outside);
      if (options.yes !== true) {
        const old =
          known === null
            ? 'No head of the old one is known'
            : `The last known head of the old one, ${known.origin}, covers ${known.size} records`;
        const name = options.origin === undefined ? '' : ` named ${options.origin}`;
        process.stderr.write(
          `Would set the ledger of ${data} aside and begin a new one${name}. ${old}.\nNothing was changed; add --yes to do it.\n`,
        );
        return;
      }
      const made = await beginAnew(data, {
        now: Date.now,
        ...(outside === undefined ? {} : { outside }),
        ...(options.origin === undefined ? {} : { origin: options.origin }),
        ...(options.reason === undefined ? {} : { reason: options.reason }),
      });
      const names =
        made.lastKnown === null
          ? 'no head of the old one is known'
          : `it names the old one’s head of ${made.lastKnown} records`;
      process.stderr.write(
        `Began the ledger ${made.origin}; ${names}.\nThe old one stands in ${made.archived}.\nIts public key, for auditors:\n`,
      );
      process.stdout.write(`${made.vkey}\n`);
    });
}

/** A newer head of the old ledger than is here, from outside. */
function outsideHead(path: string, data: string): Head {
  let head: Head;
  try {
    head = parseHead(readHeadFile(path));
  } catch (cause) {
    if (cause instanceof AuditError && cause.code === 'AUD_CLI_USAGE') throw cause;
    throw new AuditError('AUD_CLI_USAGE', {
      message: `${path} holds no head: ${messageOf(cause)}`,
      action: 'Give a checkpoint, or a head record as a sink holds it.',
      cause,
    });
  }
  const here = lastKnownHead(data);
  if (here === null || here.origin === head.origin) return head;
  throw new AuditError('AUD_CLI_USAGE', {
    message: `${path} is a head of ${head.origin}, but the ledger here is ${here.origin}.`,
    action: 'Give a head of this ledger, or none.',
  });
}
