import { BoundedJson, parseHostileJson, scalarText } from './bounded-json.ts';
import type { Keeper } from './compose.ts';
import { MAX_FIELD_BYTES, type Rendered, renderMessage } from './rendered.ts';
import { type ActorRules, scalarAt } from './rules.ts';

/** What the database itself says about a transaction's session, with the actor that follows from it. */
export interface ServerFacts extends Keeper {
  readonly via: 'session' | 'lsid';
  /** The actor when no application claims one: a setting's value, else the database role. */
  readonly rendered: Rendered;
  /** True when the actor comes from a setting, which the application filled. */
  readonly fromSetting: boolean;
  /** Members of `actor` that are kept beside every claim (`"db_user":"app",…`). */
  readonly beside: string;
  /** What the role stands for, by the rules; null without a rule or without a role. */
  readonly roleIs: 'application' | 'person' | 'job' | null;
  /** Name under which changes without an actor are counted. */
  readonly application: string;
}

const SETTING_BYTES = 64 * 1024;

/** Reads the JSON of a session message (written by the trigger of connectors/postgres/sql/session-context.sql). */
export function readSession(bytes: Uint8Array, rules: ActorRules): ServerFacts | null {
  const value = parseHostileJson(bytes)?.value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const facts = value as Record<string, unknown>;
  const user = scalarText(facts['user']);
  if (user === null) return null;
  const role = scalarText(facts['role']);
  const named = fromSettings(facts['settings'], rules);
  return serverFacts('session', {
    user,
    role,
    client: scalarText(facts['client']),
    app: scalarText(facts['app']),
    pid: scalarText(facts['pid']),
    named,
    rules,
  });
}

/**
 * Facts of MongoDB: `{ uid, user?, client?, app? }`; `user` where the hash of `lsid` was matched with a known user. Null when
 * the server names nobody.
 */
export function readLsid(value: Readonly<Record<string, unknown>>, rules: ActorRules): ServerFacts | null {
  const user = scalarText(value['user']);
  const uid = scalarText(value['uid']);
  if (user === null && uid === null) return null;
  return serverFacts('lsid', {
    user: user ?? `uid:${uid}`,
    role: null,
    client: scalarText(value['client']),
    app: scalarText(value['app']),
    pid: null,
    named: NO_SETTINGS,
    rules,
  });
}

interface Parts {
  /** The role that logged in. */
  readonly user: string;
  /** The role taken by SET ROLE, or null. */
  readonly role: string | null;
  readonly client: string | null;
  readonly app: string | null;
  readonly pid: string | null;
  readonly named: ReadonlyMap<string, unknown>;
  readonly rules: ActorRules;
}

function serverFacts(via: 'session' | 'lsid', parts: Parts): ServerFacts {
  const { user, role, client, app, named, rules } = parts;
  const byRole = rules.role(user) ?? (role === null ? null : rules.role(role));
  const fromSetting = named.has('id');
  const own = new Map<string, unknown>([
    ['id', user],
    ['type', byRole?.is ?? 'role'],
    ['name', byRole?.name],
    ['client', client],
    ['app', app],
  ]);
  return {
    via,
    rendered: renderMessage(fromSetting ? named : new Map([...named, ...own]), rules),
    fromSetting,
    beside: beside(parts, byRole?.is ?? null),
    roleIs: byRole?.is ?? null,
    application: app === null || app === '' ? user : app,
    ready: null,
  };
}

function beside(parts: Parts, roleIs: string | null): string {
  const text = new BoundedJson(8 * MAX_FIELD_BYTES);
  const fields: string[] = [];
  const add = (key: string, value: string | null) => {
    if (value !== null && value !== '') fields.push(`"${key}":${text.text(key, value, MAX_FIELD_BYTES)}`);
  };
  add('db_user', parts.user);
  add('db_role', parts.role);
  add('db_type', roleIs);
  add('db_client', parts.client);
  add('db_app', parts.app);
  if (parts.pid !== null && /^\d{1,10}$/.test(parts.pid)) fields.push(`"db_pid":${Number(parts.pid)}`);
  return fields.join(',');
}

const NO_SETTINGS: ReadonlyMap<string, unknown> = new Map();

/** What the settings say, as members of a message: the first setting that has a value counts for each field. */
function fromSettings(settings: unknown, rules: ActorRules): ReadonlyMap<string, unknown> {
  if (typeof settings !== 'object' || settings === null) return NO_SETTINGS;
  const members = new Map<string, unknown>();
  for (const rule of rules.options.settings) {
    const value = Object.hasOwn(settings, rule.name) ? (settings as Record<string, unknown>)[rule.name] : null;
    if (typeof value !== 'string' || value === '' || value.length > SETTING_BYTES) continue;
    const text = rule.path === undefined ? value : scalarAt(parseHostileJson(Buffer.from(value))?.value, rule.path);
    if (text === null || text === '') continue;
    const key = rule.as.startsWith('context.') ? rule.as.slice('context.'.length) : rule.as;
    if (!members.has(key)) members.set(key, text);
  }
  return members;
}
