import { join } from 'node:path';
import { Command } from 'commander';
import { AuditError } from '../../errors/audit-error.ts';
import { replaceFile } from '../../ledger/file-ops.ts';
import { findById, findByIndex } from '../../ledger/find-record.ts';
import { proofText } from '../../ledger/proof.ts';
import { TileReader } from '../../ledger/tiles.ts';
import { readCheckpoint } from '../../ledger/tree.ts';
import { findLedger } from '../../ledger/verify/find-ledger.ts';
import { configOption } from '../configured.ts';
import { dataDirectory, dataOption } from '../data-directory.ts';

interface ProveOptions {
  readonly config: string;
  readonly data?: string;
  readonly out?: string;
}

/** `changetrail prove`: one record with a proof that it is in the ledger. */
export function proveCommand(): Command {
  return new Command('prove')
    .description('write a record and a proof that it is in the ledger, for somebody who does not have the ledger')
    .argument('<record>', 'its index or its id')
    .addOption(configOption())
    .addOption(dataOption())
    .option('-o, --out <name>', 'write <name>.json and <name>.tlog-proof (default: record-<index>)')
    .addHelpText(
      'after',
      `
Whoever has both files and the public key checks them with
  changetrail verify --proof record-48213.tlog-proof --record record-48213.json --key "$(cat audit.vkey)"
or with any tool that reads C2SP tlog-proof; the entry is the SHA-256 of the record's bytes without the line feed.

Examples:
  changetrail prove 48213
  changetrail prove shop:0/1A2B3C8:3 --out evidence/alice`,
    )
    .action(async (record: string, options: ProveOptions) => {
      const ledger = findLedger(await dataDirectory(options));
      const segments = join(ledger, 'segments');
      const found = /^\d+$/.test(record) ? findByIndex(segments, Number(record)) : findById(segments, record);
      const head = readCheckpoint(ledger);
      if (head === null || found.index >= head.size) {
        throw new AuditError('AUD_LEDGER_PROOF', {
          message: `No signed head covers record ${found.index} yet.`,
          action: 'Try again in a moment; if capture is not running, start it.',
        });
      }
      const name = options.out ?? `record-${found.index}`;
      replaceFile(`${name}.json`, Buffer.concat([found.line, Buffer.from('\n')]));
      replaceFile(`${name}.tlog-proof`, proofText(found.index, head, new TileReader(ledger, head.size)));
      process.stderr.write(
        `Wrote ${name}.json and ${name}.tlog-proof: record ${found.index} under the head of ${head.size} records.\n`,
      );
    });
}
