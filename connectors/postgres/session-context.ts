import { SESSION_PREFIX } from './actor-dialects.ts';
import { type ControlClient, quoteIdent, quoteLiteral } from './client.ts';
import { parsePattern, type TableMatcher } from './patterns.ts';
import { applyStatements, qualified } from './setup.ts';

/**
 * What `setup --session-context` installs: before the first change of a transaction a statement trigger writes one message
 * with what the database knows about the session. The message is sealed with a key that ordinary roles cannot read, because
 * every role may call pg_logical_emit_message.
 */
export const SESSION_TRIGGER = 'changetrail_session_context';
const SCHEMA = 'changetrail';
/** Longest setting taken into the message, in characters. */
const MAX_SETTING_LENGTH = 16_384;

export interface TableName {
  readonly schema: string;
  readonly table: string;
}

export interface SessionContextOptions {
  /** Tables that get the trigger, from `readSessionTables`: partitioned tables and each of their partitions. */
  readonly tables: readonly TableName[];
  /** The source's table patterns: later tables that fit get the trigger when they are created. */
  readonly patterns: readonly string[];
  /** Names of settings to take along (`actors.settings`). */
  readonly settings: readonly string[];
  /** The role Changetrail logs in with; may read the key. */
  readonly reader: string;
}

/**
 * The statements in order, each complete in itself and safe to repeat. To be run by a role that owns the tables; the event
 * trigger for later tables is left out where the role may not create one (the connector then covers them itself).
 */
export function sessionContextSql(options: SessionContextOptions): string[] {
  return [...baseSql(options), ...attachSql(options.tables), EVENT_TRIGGER];
}

/** Lets the role (quoted where it must be) read the key. */
export function sessionKeyGrants(role: string): string[] {
  return [`grant usage on schema ${SCHEMA} to ${role}`, `grant select on ${SCHEMA}.session_key to ${role}`];
}

function baseSql(options: SessionContextOptions): string[] {
  return [
    `create schema if not exists ${SCHEMA}`,
    KEY_TABLE,
    KEY_ROW,
    `revoke all on ${SCHEMA}.session_key from public`,
    ...sessionKeyGrants(quoteIdent(options.reader)),
    triggerFunction(options.settings),
    `revoke all on function ${SCHEMA}.session_context() from public`,
    coverFunction(options.patterns),
    `revoke all on function ${SCHEMA}.session_context_cover() from public`,
  ];
}

/** The statements that give tables the trigger. ALWAYS: also in a session with session_replication_role = replica. */
export function attachSql(tables: readonly TableName[]): string[] {
  return tables.flatMap((table) => [
    `create or replace trigger ${SESSION_TRIGGER} before insert or update or delete or truncate on ${qualified(table)} ` +
      `for each statement execute function ${SCHEMA}.session_context()`,
    `alter table ${qualified(table)} enable always trigger ${SESSION_TRIGGER}`,
  ]);
}

function detachStatement(table: TableName): string {
  return `drop trigger if exists ${SESSION_TRIGGER} on ${qualified(table)}`;
}

/** Takes everything away that `sessionContextSql` made. `tables`: those that have the trigger now. */
export function removeSessionContextSql(tables: readonly TableName[]): string[] {
  return [
    `drop event trigger if exists ${SESSION_TRIGGER}`,
    ...tables.map(detachStatement),
    `drop function if exists ${SCHEMA}.session_context() cascade`,
    `drop function if exists ${SCHEMA}.session_context_cover() cascade`,
    `drop table if exists ${SCHEMA}.session_key`,
    DROP_SCHEMA,
  ];
}

/** Installs it: each table in a transaction of its own, so that no lock is held while another is waited for. */
export async function applySessionContext(client: ControlClient, options: SessionContextOptions): Promise<void> {
  await applyStatements(client, baseSql(options));
  // An event trigger that is there already would cover the whole tree of each, in the same transaction.
  for (const table of options.tables) await applyStatements(client, [COVERING, ...attachSql([table])]);
  await applyStatements(client, [EVENT_TRIGGER]);
}

/** Takes it away, as carefully. */
export async function applyRemoval(client: ControlClient, tables: readonly TableName[]): Promise<void> {
  for (const table of tables) await applyStatements(client, [detachStatement(table)]);
  await applyStatements(client, removeSessionContextSql([]));
}

/** What is installed, and on which tables. */
export interface SessionContextState {
  readonly installed: boolean;
  /** False: later tables get the trigger from the connector. */
  readonly eventTrigger: boolean;
  readonly attached: readonly TableName[];
  /** Tables that the patterns want and that have no trigger, or a disabled one. */
  readonly missing: readonly TableName[];
}

/** Looks at what is installed. Needs no right beyond reading the catalog. */
export async function readSessionContext(client: ControlClient, matcher: TableMatcher): Promise<SessionContextState> {
  const [installed, tables] = [
    await client.query<InstalledRow>(INSTALLED_SQL),
    await client.query<TableRow>(TABLES_SQL),
  ];
  const wanted = new Set<string>();
  for (const row of tables) {
    if (!matcher.matches(row.schema, row.table)) continue;
    wanted.add(row.oid);
    // A statement on a partitioned table fires its triggers, one on a partition that partition's own.
    for (const ancestor of row.ancestors) wanted.add(ancestor);
    for (const other of tables) if (other.ancestors.includes(row.oid)) wanted.add(other.oid);
  }
  return {
    installed: installed[0]?.installed ?? false,
    eventTrigger: installed[0]?.event_trigger ?? false,
    attached: tables.filter((row) => row.attached),
    missing: tables.filter((row) => wanted.has(row.oid) && !(row.attached && row.enabled)),
  };
}

/** Reads the key for `ActorStage.sessionKey`; null where nothing is installed or the role may not read it. */
export async function readSessionKey(client: ControlClient): Promise<Uint8Array | null> {
  const [allowed] = await client.query<{ allowed: boolean | null }>(KEY_ALLOWED_SQL);
  if (allowed?.allowed !== true) return null;
  const rows = await client.query<{ key: string }>(`select encode(seal_key, 'hex') as key from ${SCHEMA}.session_key`);
  return rows[0] === undefined ? null : Buffer.from(rows[0].key, 'hex');
}

/** Whether what is installed is what this version would install for these patterns and settings. */
export async function isSessionContextCurrent(
  client: ControlClient,
  { patterns, settings }: Pick<SessionContextOptions, 'patterns' | 'settings'>,
): Promise<boolean> {
  const rows = await client.query<{ name: string; body: string }>(BODIES_SQL);
  const bodies = new Map(rows.map(({ name, body }) => [name, body]));
  return (
    bodies.get('session_context') === bodyOf(triggerFunction(settings)) &&
    bodies.get('session_context_cover') === bodyOf(coverFunction(patterns))
  );
}

function bodyOf(createFunction: string): string {
  return createFunction.split('$changetrail$')[1]!;
}

interface InstalledRow {
  readonly installed: boolean;
  readonly event_trigger: boolean;
}

interface TableRow extends TableName {
  readonly oid: string;
  readonly ancestors: readonly string[];
  readonly attached: boolean;
  readonly enabled: boolean;
}

/** From the catalog: names are not resolved for a role that may not use the schema. */
const FUNCTIONS_SQL = `from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname = '${SCHEMA}'`;

const BODIES_SQL = `select p.proname as name, p.prosrc as body ${FUNCTIONS_SQL}`;

const INSTALLED_SQL = `
select exists (select ${FUNCTIONS_SQL} and p.proname = 'session_context') as installed,
  exists (select from pg_catalog.pg_event_trigger e where e.evtname = '${SESSION_TRIGGER}') as event_trigger`;

const TABLES_SQL = `
select c.oid::int8::text as oid, n.nspname as schema, c.relname as table, t.oid is not null as attached,
  t.oid is not null and t.tgenabled <> 'D' as enabled,
  array(select a.relid::oid::int8::text from pg_catalog.pg_partition_ancestors(c.oid) a where a.relid <> c.oid) as ancestors
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_trigger t on t.tgrelid = c.oid and t.tgname = '${SESSION_TRIGGER}' and not t.tgisinternal
where c.relkind in ('r', 'p') and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '${SCHEMA}')
order by 2, 3`;

const KEY_ALLOWED_SQL = `
select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as allowed
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = '${SCHEMA}' and c.relname = 'session_key' and c.relkind = 'r'`;

/** One row: the key of the seal, its two HMAC pads made ready, and a key for the guard in the session's setting. */
const KEY_TABLE = `create table if not exists ${SCHEMA}.session_key (
  one boolean primary key default true check (one),
  seal_key bytea not null,
  inner_pad bytea not null,
  outer_pad bytea not null,
  guard_key bytea not null
)`;

/** The key is made here, so that it stands in no script. gen_random_uuid() has 122 random bits. */
const KEY_ROW = `do $do$
declare
  seal bytea := sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));
  guard bytea := sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));
  block bytea := seal || decode(repeat('00', 32), 'hex');
  inner_pad bytea := block;
  outer_pad bytea := block;
begin
  for i in 0..63 loop
    inner_pad := set_byte(inner_pad, i, get_byte(block, i) # 54);
    outer_pad := set_byte(outer_pad, i, get_byte(block, i) # 92);
  end loop;
  insert into ${SCHEMA}.session_key values (true, seal, inner_pad, outer_pad, guard) on conflict do nothing;
end
$do$`;

/**
 * Once a transaction, and again when what it would say has changed (SET ROLE, another setting). What was said last is kept in
 * a transaction-local setting, which a savepoint's rollback takes back together with the message. It is kept as a keyed hash,
 * so that nobody can keep the trigger silent by setting it. Nothing here can fail: an error would break the application's write.
 */
function triggerFunction(settings: readonly string[]): string {
  const values = settings.map((name) => `left(current_setting(${quoteLiteral(name)}, true), ${MAX_SETTING_LENGTH})`);
  const members = settings.map((name, at) => `${quoteLiteral(name)}, ${values[at]}`);
  // Not json_build_object: it takes a hundred arguments at most, and the write would fail.
  const object = members.length === 0 ? '' : `, 'settings', json_object(array[${members.join(', ')}])`;
  return `create or replace function ${SCHEMA}.session_context() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $changetrail$
declare
  key record;
  guard text;
  body text;
  said text;
  role text := nullif(current_setting('role'), 'none');
begin
  select inner_pad, outer_pad, guard_key into key from ${SCHEMA}.session_key;
  guard := encode(sha256(key.guard_key || convert_to(row(pg_current_xact_id(), session_user, role, current_setting('application_name')${values
    .map((value) => `, ${value}`)
    .join('')})::text, getdatabaseencoding())), 'hex');
  if current_setting('changetrail.session', true) = guard then
    return null;
  end if;
  body := pg_current_xact_id()::text || ' ' || json_build_object('user', session_user, 'role', role,
    'client', coalesce(host(inet_client_addr()), 'local'), 'app', current_setting('application_name'), 'pid', pg_backend_pid()${object});
  said := pg_logical_emit_message(true, '${SESSION_PREFIX}', convert_to(coalesce(
    encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(body, getdatabaseencoding()))), 'hex'),
    repeat('0', 64)) || ' ' || body, getdatabaseencoding()));
  said := set_config('changetrail.session', guard, true);
  return null;
end
$changetrail$`;
}

const COVERING = `select set_config('changetrail.covering', 'on', true)`;

/**
 * Gives the trigger to tables that have just come to fit: created, renamed, moved to another schema, attached as a partition.
 * A table that has it in any state is left as it is. What is executed here are ALTER TABLEs, for which it is called again: a
 * transaction-local setting has those calls do nothing. A failure is a warning, and other tables of a partition tree are waited
 * for once and briefly: nobody's migration fails or is held up, and a write that holds one of them and waits for the migration is
 * not ended as a deadlock (deadlock_timeout is a second). (pg_partition_tree() would lock them.)
 */
function coverFunction(patterns: readonly string[]): string {
  const rows = patterns.map((text, at) => {
    const pattern = parsePattern(text);
    return `(${at}, ${pattern.exclude}, ${quoteLiteral(pattern.schema)}, ${quoteLiteral(pattern.table)})`;
  });
  return `create or replace function ${SCHEMA}.session_context_cover() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $changetrail$
declare
  made regclass;
begin
  if current_setting('changetrail.covering', true) = 'on' then
    return;
  end if;
  perform set_config('changetrail.covering', 'on', true);
  for made in
    with recursive touched as (
      select c.objid as oid from pg_event_trigger_ddl_commands() c where c.classid = 'pg_class'::regclass
    ), tree as (
      select coalesce(pg_partition_root(oid), oid) as oid from touched
      union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.oid
    ), member as (
      select t.oid, not coalesce((select p.excluded from (values ${rows.join(', ')}) p(place, excluded, schema, name)
          where n.nspname ~ p.schema and t.relname ~ p.name order by p.place desc limit 1), true) as fits,
        exists (select from pg_trigger g where g.tgrelid = t.oid and g.tgname = '${SESSION_TRIGGER}') as has
      from tree
      join pg_class t on t.oid = tree.oid
      join pg_namespace n on n.oid = t.relnamespace
      where t.relkind in ('r', 'p') and t.relpersistence = 'p'
    )
    select m.oid from member m where not m.has and (m.fits or exists (select from member o where (o.fits or o.has)
      and (m.oid in (select relid from pg_partition_ancestors(o.oid)) or o.oid in (select relid from pg_partition_ancestors(m.oid)))))
    order by m.oid in (select oid from touched) desc
  loop
    begin
      execute format('create or replace trigger ${SESSION_TRIGGER} before insert or update or delete or truncate on %s '
        'for each statement execute function ${SCHEMA}.session_context()', made);
      execute format('alter table %s enable always trigger ${SESSION_TRIGGER}', made);
    exception when lock_not_available then
      raise warning 'changetrail: % is locked and got no session trigger', made;
      exit;
    end;
  end loop;
  perform set_config('changetrail.covering', '', true);
exception when others then
  raise warning 'changetrail: a table got no session trigger: %', sqlerrm;
end
$changetrail$`;
}

/** Made anew each time: the commands it looks at may be those of an older version. */
const EVENT_TRIGGER = `do $do$
begin
  drop event trigger if exists ${SESSION_TRIGGER};
  create event trigger ${SESSION_TRIGGER} on ddl_command_end
    when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE SCHEMA')
    execute function ${SCHEMA}.session_context_cover();
exception when insufficient_privilege then
  raise notice 'changetrail: only a superuser can create the event trigger; the connector will cover new tables';
end
$do$`;

/** The schema may hold other things of Changetrail, or of the owner. */
const DROP_SCHEMA = `do $do$
begin
  drop schema if exists ${SCHEMA};
exception when dependent_objects_still_exist then
  null;
end
$do$`;
