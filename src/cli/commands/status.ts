import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { ActorSnapshot } from '../../actor/metrics.ts';
import type { LedgerCursor } from '../../core/ledger.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { type DataLayout, dataLayout } from '../../ledger/layout.ts';
import { SegmentReader } from '../../ledger/reader.ts';
import { backlogBehind } from '../../pipeline/delivery/backlog.ts';
import { readStatus } from '../../pipeline/status-file.ts';
import { configOption, configured } from '../configured.ts';
import { paletteFor } from '../pretty.ts';
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
}

/** A sink's cursor file, with what lies behind it. */
interface CursorStatus extends LedgerCursor {
  readonly status?: {
    readonly state?: string;
    readonly lastError?: string | null;
    readonly lastErrorAt?: string | null;
  };
  readonly lagRecords: number;
  readonly lagSeconds: number;
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
      const sinks = await readCursors(dataLayout(data));
      const live = isAlive(running.pid) && Date.now() - Date.parse(running.at) < 10_000;
      if (options.json === true) process.stdout.write(`${JSON.stringify({ live, ...running, sinks }, null, 2)}\n`);
      else print(live, running, sinks, options.actors === true);
    });
}

async function readCursors({ cursors, segments }: DataLayout): Promise<Record<string, CursorStatus>> {
  const reader = new SegmentReader(segments);
  const found: Record<string, CursorStatus> = {};
  for (const name of namesIn(cursors)) {
    const cursor = readStatus<LedgerCursor & Pick<CursorStatus, 'status'>>(join(cursors, name));
    if (cursor === null) continue;
    const { records, seconds } = await backlogBehind(cursor, reader, Date.now());
    found[name.slice(0, -'.json'.length)] = {
      ...cursor,
      lagRecords: records,
      lagSeconds: Math.round(seconds * 10) / 10,
    };
  }
  return found;
}

function namesIn(cursors: string): string[] {
  try {
    return readdirSync(cursors).filter((name) => name.endsWith('.json'));
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
  for (const [name, sink] of Object.entries(sinks)) {
    const lag = sink.lagRecords === 0 ? 'nothing' : `${sink.lagRecords} records (${sink.lagSeconds} s)`;
    lines.push(`sink     ${p.bold(name)}  ${sink.status?.state ?? 'unknown'}, at ${sink.index}, ${lag} behind`);
    const { lastError = null, lastErrorAt = null } = sink.status ?? {};
    if (lastError !== null) lines.push(`         last error, ${lastErrorAt ?? 'at an unknown time'}: ${lastError}`);
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}
