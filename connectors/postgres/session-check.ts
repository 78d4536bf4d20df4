// What `doctor` says of the session context: is it there, does it cover every table, can its word be believed, is it of now.
import type { CheckItem } from '../../src/core/connector.ts';
import { type ControlClient, quoteIdent } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import { tableMatcher } from './patterns.ts';
import {
  attachSql,
  isSessionContextCurrent,
  readSessionContext,
  readSessionKey,
  type SessionContextState,
  sessionKeyGrants,
} from './session-context.ts';

const NAME = 'session context';
const INSTALL = 'changetrail setup --session-context';
/** Tables named in a finding; the rest is a number. */
const NAMED = 5;

export interface SessionCheckOptions {
  /** Names of session settings that the rules of `actors` ask for. */
  readonly settings: readonly string[];
  /** The role that Changetrail logs in with. */
  readonly reader: string;
}

/** Changes nothing. */
export async function sessionContextItems(
  client: ControlClient,
  options: ResolvedPostgres,
  { settings, reader }: SessionCheckOptions,
): Promise<CheckItem[]> {
  const state = await readSessionContext(client, tableMatcher(options.tables));
  if (!state.installed) return [notInstalled(settings)];
  const items = coverage(state);
  if ((await readSessionKey(client)) === null) {
    items.push({
      name: NAME,
      level: 'warning',
      detail:
        'its key cannot be read by this role, so what the database says of sessions cannot be told from a forgery',
      fix: `${sessionKeyGrants(quoteIdent(reader)).join('; ')};`,
    });
  }
  if (!(await isSessionContextCurrent(client, { patterns: options.tables, settings }))) {
    items.push({
      name: NAME,
      level: 'warning',
      detail: 'it was installed by another version, or for other tables or settings than those configured now',
      fix: INSTALL,
    });
  }
  if (items.length > 0) return items;
  const later = state.eventTrigger
    ? 'new tables get it at once'
    : 'new tables get it from capture, where its role owns them';
  return [{ name: NAME, level: 'ok', detail: `${state.attached.length} tables say who is in session; ${later}` }];
}

function notInstalled(settings: readonly string[]): CheckItem {
  if (settings.length === 0) {
    return { name: NAME, level: 'ok', detail: `not installed: changes without a message name nobody (${INSTALL})` };
  }
  return {
    name: NAME,
    level: 'warning',
    detail: `not installed, though actors.settings names ${settings.join(', ')}, which only it reads`,
    fix: INSTALL,
  };
}

function coverage({ missing }: SessionContextState): CheckItem[] {
  if (missing.length === 0) return [];
  const names = missing.slice(0, NAMED).map((table) => `${table.schema}.${table.table}`);
  const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : '';
  return [
    {
      name: NAME,
      level: 'warning',
      detail: `no trigger, or a disabled one, on ${names.join(', ')}${more}: their changes name nobody unless a message does`,
      fix: missing.length > NAMED ? INSTALL : `${attachSql(missing).join('; ')};`,
    },
  ];
}
