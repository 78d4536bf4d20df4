import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { AuditError } from '../../errors/audit-error.ts';
import { checkFormat, dataLayout } from '../../ledger/layout.ts';
import { SegmentReader } from '../../ledger/reader.ts';
import type { AuditRecord } from '../../record/schema.ts';
import { configOption, configured } from '../configured.ts';
import { paletteFor, prettyRecord } from '../pretty.ts';

interface TailOptions {
  readonly config: string;
  readonly follow?: boolean;
  readonly lines: number;
  readonly from?: number;
  readonly json?: boolean;
  readonly data?: string;
}

/** `changetrail tail`: the ledger's last records, also while another process writes it. */
export function tailCommand(): Command {
  return new Command('tail')
    .description('show the last records of the ledger, and follow it')
    .addOption(configOption())
    .option('-d, --data <dir>', 'data directory; default: the one of the configuration')
    .option('-n, --lines <count>', 'how many records to begin with', count, 10)
    .option('--from <index>', 'begin at this index', count)
    .option('-f, --follow', 'go on as records come')
    .option('--json', 'one JSON record a line (always so when the output is not a terminal)')
    .addHelpText('after', '\nExamples:\n  changetrail tail -f\n  changetrail tail --from 0 --json | jq .actor')
    .action(tail);
}

function count(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Give a whole number.');
  return Number(text);
}

async function tail(options: TailOptions): Promise<void> {
  const data = options.data ?? (await configured(options.config)).configuration.data;
  const { segments } = dataLayout(data);
  if (!existsSync(segments)) {
    throw new AuditError('AUD_LEDGER_MISSING', {
      message: `There is no ledger in ${data}.`,
      action: 'Start one with changetrail run, or name another with --data DIR.',
    });
  }
  checkFormat(data);
  const reader = new SegmentReader(segments);
  const from = options.from ?? Math.max(reader.start, reader.end - options.lines);
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  process.stdout.on('error', stop);
  const raw = options.json === true || process.stdout.isTTY !== true;
  const palette = paletteFor(process.stdout);
  for await (const batch of reader.read({ index: from }, { follow: options.follow === true, signal: abort.signal })) {
    const text = raw ? batch.bytes : Buffer.from(prettyBatch(batch.bytes, palette));
    if (!process.stdout.write(text)) await new Promise((resolve) => process.stdout.once('drain', resolve));
  }
}

function prettyBatch(bytes: Buffer, palette: ReturnType<typeof paletteFor>): string {
  let text = '';
  for (const line of bytes.toString('utf8').split('\n')) {
    if (line !== '') text += prettyRecord(JSON.parse(line) as AuditRecord, palette);
  }
  return text;
}
