import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import type { Configuration } from '../../config/load.ts';
import type { LedgerReader } from '../../core/ledger.ts';
import type { Sink } from '../../core/sink.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { checkFormat, dataLayout } from '../../ledger/layout.ts';
import { SegmentReader } from '../../ledger/reader.ts';
import { startDelivery } from '../../pipeline/delivery/delivery.ts';
import { sinkMetrics } from '../../pipeline/delivery/metrics.ts';
import type { DeliveryOptions } from '../../pipeline/delivery/options.ts';
import { countOlder, resolvePlace, takeDeadLetters } from '../../pipeline/delivery/replay.ts';
import type { Logger } from '../../telemetry/log.ts';
import { configOption, configured, DEFAULT_CONFIG } from '../configured.ts';
import { SINKS } from '../registry.ts';
import { stopSignal } from '../signals.ts';

export interface ReplayOptions {
  readonly config: string;
  readonly from?: string;
  readonly to?: string;
  readonly deadLetters?: boolean;
  readonly acceptOld?: boolean;
  readonly json?: boolean;
}

/** `changetrail replay`: sends records again that a sink should have. Exit 1 when the receiver refused some. */
export function replayCommand(): Command {
  return new Command('replay')
    .description('send records of the ledger to a sink again')
    .argument('<sink>', 'name of the sink in the configuration')
    .addOption(configOption())
    .option('--from <place>', 'first record: an index, the time of capture (2026-11-24T10:00:00Z) or an id')
    .option('--to <place>', 'the record before which to stop; default: the end')
    .addOption(new Option('--dead-letters', 'the records that the receiver refused').conflicts(['from', 'to']))
    .option('--accept-old', 'send also what is too old for the receiver to keep under its own time')
    .option('--json', 'the result as JSON')
    .addHelpText(
      'after',
      `
The sink's own cursor stays where it is, and changetrail run may go on meanwhile. Filter and values are those of the
configuration. A receiver that knows the records' ids keeps one copy. A time without a zone is UTC. Exit code 1 when
records were refused (they are in the dead letters) or it was stopped before the end.

Examples:
  changetrail replay splunk --from 2026-11-24T10:00:00Z --to 2026-11-24T12:00:00Z
  changetrail replay elastic --from 48213
  changetrail replay elastic --dead-letters`,
    )
    .action(replay);
}

async function replay(name: string, options: ReplayOptions): Promise<void> {
  if (options.from === undefined && options.deadLetters !== true) {
    throw new AuditError('AUD_CLI_USAGE', {
      message: 'Say what to send: --from PLACE or --dead-letters.',
      action: 'See changetrail replay --help.',
    });
  }
  const { configuration, log } = await configured(options.config);
  const job = new ReplayJob(name, configuration, log.child({ sink: name }));
  const stop = stopSignal(log);
  stop.drain.addEventListener('abort', () => job.stop(), { once: true });
  try {
    if (options.deadLetters === true) await job.deadLetters(options);
    else await job.range(options);
  } finally {
    stop.dispose();
  }
  report(name, job, options);
}

function report(name: string, job: ReplayJob, options: ReplayOptions): void {
  const { records, deadLetters, filtered } = job.metrics;
  const { stoppedAt } = job;
  if (options.json === true)
    process.stdout.write(
      `${JSON.stringify({ sink: name, sent: records, refused: deadLetters, filtered, stoppedAt })}\n`,
    );
  const refused = deadLetters === 0 ? '' : `, ${deadLetters} refused`;
  const left = filtered === 0 ? '' : `, ${filtered} left out by the sink’s filter`;
  process.stderr.write(`${name}: ${records} records sent${refused}${left}.\n`);
  if (stoppedAt !== null)
    process.stderr.write(
      `Stopped before the end; go on with: changetrail replay ${name} ${goOn(options, stoppedAt)}\n`,
    );
  if (deadLetters > 0 || stoppedAt !== null) process.exitCode = 1;
}

/** The options that send what a stopped replay did not. Dead letters are kept until all were sent. Exported for its test. */
export function goOn({ config, deadLetters, to, acceptOld }: ReplayOptions, stoppedAt: number): string {
  const words = config === DEFAULT_CONFIG ? [] : ['--config', config];
  if (deadLetters === true) words.push('--dead-letters');
  else words.push('--from', String(stoppedAt), ...(to === undefined ? [] : ['--to', to]));
  if (acceptOld === true) words.push('--accept-old');
  return words.map(shellWord).join(' ');
}

/** A word as a shell reads it: a time may have a space in it, a path anything. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

class ReplayJob {
  readonly metrics = sinkMetrics();
  /** Where a stop came, or null when all was sent. */
  stoppedAt: number | null = null;
  readonly #name: string;
  readonly #options: { readonly type: string };
  readonly #reader: LedgerReader;
  readonly #deadLetterPath: string;
  readonly #log: Logger;
  readonly #stop = new AbortController();

  constructor(name: string, configuration: Configuration, log: Logger) {
    this.#name = name;
    this.#log = log;
    this.#options = sinkNamed(name, configuration);
    const layout = dataLayout(configuration.data);
    if (!existsSync(layout.segments)) {
      throw new AuditError('AUD_LEDGER_MISSING', {
        message: `There is no ledger in ${configuration.data}.`,
        action: 'Start one with changetrail run.',
      });
    }
    checkFormat(configuration.data);
    this.#reader = new SegmentReader(layout.segments);
    this.#deadLetterPath = join(layout.deadLetters, `${name}.ndjson`);
  }

  stop(): void {
    this.#stop.abort();
  }

  async range({ from, to, acceptOld }: ReplayOptions): Promise<void> {
    const { start, end } = this.#reader;
    const wanted = await resolvePlace(this.#reader, from!);
    const first = Math.max(start, wanted);
    const last = to === undefined ? end : Math.min(end, await resolvePlace(this.#reader, to));
    if (wanted < start) this.#say(`the records before ${start} are not in the ledger any more.`);
    if (first >= last) {
      this.#say(`there is nothing between --from and --to: the ledger holds the records ${start} to ${end - 1}.`);
      return;
    }
    const sink = await this.#createSink();
    if (acceptOld !== true) await this.#refuseOld(sink, this.#reader, first, last);
    this.#say(`sends the records ${first} to ${last - 1} again.`);
    await this.#deliver(sink, this.#reader, first, last);
  }

  async deadLetters({ acceptOld }: ReplayOptions): Promise<void> {
    for (;;) {
      const taken = takeDeadLetters(this.#deadLetterPath, this.#reader);
      if (taken === null) return this.#say('there are no dead letters.');
      const { reader, indexes, damaged } = taken;
      if (damaged > 0) this.#say(`${damaged} torn line(s) of the dead letters are left out.`);
      const sink = await this.#createSink();
      if (acceptOld !== true) await this.#refuseOld(sink, reader, reader.start, reader.end);
      this.#say(`sends ${indexes.length} refused records again.`);
      await this.#deliver(sink, reader, reader.start, reader.end);
      if (this.stoppedAt !== null || taken.finish()) return;
    }
  }

  #say(what: string): void {
    process.stderr.write(`${this.#name}: ${what}\n`);
  }

  async #refuseOld(sink: Sink, reader: LedgerReader, from: number, to: number): Promise<void> {
    const { maxRecordAgeMs } = sink.limits;
    if (maxRecordAgeMs === undefined) return;
    const old = await countOlder(reader, from, to, Date.now() - maxRecordAgeMs);
    if (old === 0) return;
    await sink.close();
    throw new AuditError('AUD_CLI_USAGE', {
      message: `${old} of these records are older than the ${Math.round(maxRecordAgeMs / 3_600_000)} hours that the receiver keeps records under their own time.`,
      action: `Add --accept-old to send them as docs/reference/sinks says${reader === this.#reader ? ', or begin later' : ''}.`,
    });
  }

  #createSink(): Promise<Sink> {
    return SINKS[this.#options.type]!.create(this.#options, { name: this.#name, log: this.#log, now: Date.now });
  }

  async #deliver(sink: Sink, reader: LedgerReader, from: number, to: number): Promise<void> {
    const delivery = startDelivery({
      name: this.#name,
      sink,
      reader,
      cursorPath: null,
      range: { from: { index: from }, to },
      deadLetterPath: this.#deadLetterPath,
      options: this.#options as unknown as DeliveryOptions,
      log: this.#log,
      signal: this.#stop.signal,
      // Another process may hold the ledger; what was refused is said by the exit code and stands in the dead letters.
      control: () => undefined,
      metrics: this.metrics,
    });
    const progress = setInterval(() => {
      this.#say(`${this.metrics.records} records sent, at ${delivery.status().cursor} of ${to}.`);
    }, 10_000);
    try {
      await delivery.done;
    } finally {
      clearInterval(progress);
    }
    const { cursor } = delivery.status();
    // The stop may have come when all was sent.
    if (this.#stop.signal.aborted && cursor < to) this.stoppedAt = cursor;
  }
}

function sinkNamed(name: string, configuration: Configuration): { readonly type: string } {
  const options = configuration.sinks[name];
  if (options !== undefined) return options;
  throw new AuditError('AUD_CLI_USAGE', {
    message: `There is no sink ${JSON.stringify(name)} in the configuration.`,
    action: `Known sinks: ${Object.keys(configuration.sinks).join(', ') || 'none'}.`,
  });
}
