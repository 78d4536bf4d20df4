import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { ActorSnapshot } from '../../actor/metrics.ts';
import type { LedgerCursor } from '../../core/ledger.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { type DataLayout, dataLayout } from '../../ledger/layout.ts';
import { SegmentReader } from '../../ledger/reader.ts';
import { backlogBehind } from '../../pipeline/delivery/backlog.ts';
import { countDeadLetters } from '../../pipeline/delivery/dead-letters.ts';
import type { SinkStatus } from '../../pipeline/delivery/metrics.ts';
import { readStatus } from '../../pipeline/status-file.ts';
import { configOption, configured } from '../configured.ts';
import { type Palette, paletteFor } from '../pretty.ts';
import { actorLines } from './status-actors.ts';

/** What the running process last wrote of itself. */
interface RunningStatus {
  readonly at: string;
  readonly pid: number;
  readonly version: string;
  readonly ledger: { readonly next: number; readonly failure: string | null };
  readonly sources: Readonly<
    Record<string, { state: string; changes: number; transactions: number; lagMs: number; lastError: string | null }>
  >;
  readonly actors: Readonly<Record<string, ActorSnapshot>>;
  /** Absent from what earlier versions wrote. */
  readonly sinks?: Readonly<Record<string, SinkStatus>>;
  /** Names of the sinks of its configuration, also of those that did not get as far as a start. Absent as `sinks` is. */
  readonly configuredSinks?: readonly string[];
}

/** A sink's cursor file, with what lies behind it. */
interface CursorStatus extends LedgerCursor {
  readonly status?: Partial<SinkStatus>;
  /** False when the last run did not have this sink: its cursor is left from an earlier configuration. */
  readonly configured: boolean;
  readonly lagRecords: number;
  readonly lagSeconds: number;
  /** Refused records that wait for `replay --dead-letters`. */
  readonly deadLettersWaiting: number;
}

/** `changetrail status`: where sources and sinks stand, read from the data directory. */
export function statusCommand(): Command {
  return new Command('status')
    .description('show where sources and sinks stand')
    .addOption(configOption())
    .option('-d, --data <dir>', 'data directory; default: the one of the configuration')
    .option('--actors', 'also how changes were attributed, and what writes without an actor')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  changetrail status --json | jq .sinks')
    .action(async (options: { config: string; data?: string; actors?: boolean; json?: boolean }) => {
      const data = options.data ?? (await configured(options.config)).configuration.data;
      const running = readStatus<RunningStatus>(join(data, 'status.json'));
      if (running === null) {
        throw new AuditError('AUD_LEDGER_MISSING', {
          message: `Nothing has run in ${data} yet.`,
          action: 'Start with changetrail run, or name another directory with --data DIR.',
        });
      }
      const sinks = await readSinks(dataLayout(data), running);
      const live = isAlive(running.pid) && Date.now() - Date.parse(running.at) < 10_000;
      if (options.json === true) process.stdout.write(`${JSON.stringify({ live, ...running, sinks }, null, 2)}\n`);
      else print(live, running, sinks, options.actors === true);
    });
}

/**
 * Every sink that has a cursor, or that the last run had: one that could not start wrote none. What the process says of its
 * sinks goes before what their cursor files say, which a sink that failed does not write any more.
 */
async function readSinks(
  { cursors, segments, deadLetters }: DataLayout,
  { sinks: ofTheRun, configuredSinks }: RunningStatus,
): Promise<Record<string, CursorStatus>> {
  const reader = new SegmentReader(segments);
  const found: Record<string, CursorStatus> = {};
  for (const name of new Set([...namesIn(cursors), ...Object.keys(ofTheRun ?? {})])) {
    const said = ofTheRun?.[name];
    const file = readStatus<LedgerCursor & Pick<CursorStatus, 'status'>>(join(cursors, `${name}.json`));
    const cursor = file ?? { index: said?.cursor ?? 0 };
    const { records, seconds } = await backlogBehind(cursor, reader, Date.now());
    found[name] = {
      ...cursor,
      ...(said === undefined ? {} : { status: said }),
      configured: configuredSinks?.includes(name) ?? (ofTheRun === undefined || said !== undefined),
      lagRecords: records,
      lagSeconds: Math.round(seconds * 10) / 10,
      deadLettersWaiting: countDeadLetters(join(deadLetters, `${name}.ndjson`)),
    };
  }
  return found;
}

function namesIn(cursors: string): string[] {
  try {
    return readdirSync(cursors)
      .filter((name) => name.endsWith('.json'))
      .map((name) => name.slice(0, -'.json'.length));
  } catch {
    // No sink has run yet.
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function print(
  live: boolean,
  running: RunningStatus,
  sinks: Readonly<Record<string, CursorStatus>>,
  actors: boolean,
): void {
  const p = paletteFor(process.stdout);
  const lines = [
    live ? p.green(`running, pid ${running.pid}`) : p.yellow(`not running; last seen ${running.at}`),
    `ledger   ${running.ledger.next} records${running.ledger.failure === null ? '' : p.red(` ${running.ledger.failure}`)}`,
  ];
  for (const [name, source] of Object.entries(running.sources)) {
    lines.push(
      `source   ${p.bold(name)}  ${live ? source.state : 'stopped'}, ${source.changes} changes in ${source.transactions} transactions, ${source.lagMs} ms behind`,
    );
    if (source.lastError !== null) lines.push(`         ${p.red(source.lastError)}`);
    const snapshot = running.actors[name];
    if (actors && snapshot !== undefined) lines.push(...actorLines(name, snapshot, p));
  }
  for (const [name, sink] of Object.entries(sinks)) lines.push(...sinkLines(name, sink, live, p));
  process.stdout.write(`${lines.join('\n')}\n`);
}

function sinkLines(name: string, sink: CursorStatus, live: boolean, p: Palette): string[] {
  const { state = 'unknown', lastError = null, lastErrorAt = null } = sink.status ?? {};
  const lag = sink.lagRecords === 0 ? 'nothing' : `${sink.lagRecords} records (${sink.lagSeconds} s)`;
  // A process that was killed wrote no last word: what it said of itself does not hold any more.
  const now = !sink.configured ? 'not in the configuration' : live || state === 'failed' ? state : 'stopped';
  const lines = [`sink     ${p.bold(name)}  ${now === 'failed' ? p.red(now) : now}, at ${sink.index}, ${lag} behind`];
  if (lastError !== null) lines.push(`         last error, ${lastErrorAt ?? 'at an unknown time'}: ${lastError}`);
  if (sink.deadLettersWaiting > 0)
    lines.push(
      `         ${p.red(`${sink.deadLettersWaiting} refused records`)} wait for: changetrail replay ${name} --dead-letters`,
    );
  return lines;
}
