// `doctor` for a PostgreSQL source: everything that could keep it from working, with the statement that mends it.
import type { CheckItem, CheckReport } from '../../src/core/connector.ts';
import { AuditError, messageOf } from '../../src/errors/audit-error.ts';
import { ControlClient, identifySystem } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import { tableMatcher } from './patterns.ts';
import { readServerFacts, requireCapable, type ServerFacts } from './preflight.ts';
import { KnownTables } from './schema-changes.ts';
import { sessionContextItems } from './session-check.ts';
import { qualified, slotStatement } from './setup.ts';
import { describeShortfall, shortfallsOf } from './shortfalls.ts';
import { readSlot, type SlotState } from './slot.ts';
import { lookAround, type Surroundings } from './surroundings.ts';
import { describeLimit } from './tables.ts';

/** `settings`: names of session settings that the rules of `actors` ask for. */
export async function checkPostgres(options: ResolvedPostgres, settings: readonly string[] = []): Promise<CheckReport> {
  const items: CheckItem[] = [];
  let client: ControlClient | null = null;
  try {
    client = await ControlClient.connect(options.url, options.name);
    const facts = await readServerFacts(client);
    items.push({
      name: 'connection',
      level: 'ok',
      detail: `PostgreSQL ${facts.version}, database ${facts.database}, user ${facts.user}`,
    });
    requireCapable(facts, options.name);
    await identifySystem(options.url, options.name);
    items.push({ name: 'replication', level: 'ok', detail: 'wal_level is logical and the user may replicate' });
    const around = await lookAround(client, { options, facts, matcher: tableMatcher(options.tables) });
    items.push(...publicationItems(options, around), ...tableItems(around));
    items.push(...slotItems(options, await readSlot(client, options.slot), facts));
    items.push(...(await sessionContextItems(client, options, { settings, reader: facts.user })));
  } catch (error) {
    items.push(failed(error));
  } finally {
    await client?.close();
  }
  return { items };
}

function failed(error: unknown): CheckItem {
  const fix = error instanceof AuditError ? error.action : undefined;
  return { name: 'connection', level: 'error', detail: messageOf(error), ...(fix === undefined ? {} : { fix }) };
}

function publicationItems(options: ResolvedPostgres, around: Surroundings): CheckItem[] {
  const { plan, selection } = around;
  const automatic = options.setup === 'auto';
  const fix = plan.statements.length === 0 ? {} : { fix: `${plan.statements.join('; ')};` };
  // What is left out now is lost, whoever puts it right later.
  const leftOut = shortfallsOf(plan, { options, known: new KnownTables(), published: { lost: new Map() } }).map(
    (shortfall): CheckItem => ({
      name: 'publication',
      level: 'error',
      detail: `${describeShortfall(shortfall)}${automatic && shortfall.mended ? '; it is put right when capture runs' : ''}`,
      ...fix,
    }),
  );
  if (leftOut.length > 0) return leftOut;
  if (plan.statements.length === 0) {
    const detail = `${options.publication} publishes ${selection.wanted.length} tables`;
    return [{ name: 'publication', level: 'ok', detail }];
  }
  return [
    {
      name: 'publication',
      level: automatic ? 'warning' : 'error',
      detail: automatic ? 'will be set up when capture starts' : 'does not fit the configured tables',
      ...fix,
    },
  ];
}

function tableItems(around: Surroundings): CheckItem[] {
  const { wanted, unlogged, unusedPatterns } = around.selection;
  const limited = wanted.filter((table) => table.reason !== null);
  return [
    ...limited.map((table): CheckItem => {
      const { text, fix } = describeLimit(table.reason!, qualified(table));
      return {
        name: `${table.schema}.${table.table}`,
        level: 'warning',
        detail: `UPDATE and DELETE are not captured: ${text}`,
        fix: `${fix};`,
      };
    }),
    ...unlogged.map(
      (table): CheckItem => ({
        name: `${table.schema}.${table.table}`,
        level: 'warning',
        detail: 'unlogged: not captured',
      }),
    ),
    ...unusedPatterns.map(
      (pattern): CheckItem => ({ name: `pattern ${pattern}`, level: 'warning', detail: 'matches no table' }),
    ),
  ];
}

function slotItems(options: ResolvedPostgres, slot: SlotState | null, facts: ServerFacts): CheckItem[] {
  const keep: CheckItem =
    facts.maxSlotKeepMb < 0
      ? {
          name: 'wal retention',
          level: 'warning',
          detail: 'max_slot_wal_keep_size is -1: while capture is stopped the server keeps log without bound',
          fix: "alter system set max_slot_wal_keep_size = '50GB'; select pg_reload_conf();",
        }
      : {
          name: 'wal retention',
          level: 'ok',
          detail: `at most ${facts.maxSlotKeepMb} MB are kept for a stopped capture`,
        };
  if (slot === null) {
    const automatic = options.setup === 'auto';
    return [
      {
        name: 'slot',
        level: automatic ? 'warning' : 'error',
        detail: automatic ? 'will be created when capture starts' : 'missing',
        fix: `${slotStatement(options.slot)};`,
      },
      keep,
    ];
  }
  if (slot.lost !== null) return [{ name: 'slot', level: 'error', detail: `not usable any more (${slot.lost})` }, keep];
  return [
    {
      name: 'slot',
      level: 'ok',
      detail:
        slot.activePid === null
          ? `${options.slot}, not read at the moment`
          : `${options.slot}, read by server process ${slot.activePid}`,
    },
    keep,
  ];
}
