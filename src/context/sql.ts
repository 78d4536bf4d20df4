/**
 * The optional functions for people and programs that speak SQL: schema `changetrail`, function `set_actor`. They write
 * nothing, need no right, and hold for the transaction they are called in.
 */

const SCHEMA = 'create schema if not exists changetrail';

/**
 * The message goes out as UTF-8 bytes, whatever the encoding of the database, and not longer than 64 KiB: what is too long is
 * cut or left out, and `truncated` names it, as in `message.ts`.
 */
const SET_ACTOR_OBJECT = `create or replace function changetrail.set_actor(actor jsonb) returns void
language plpgsql volatile set search_path = pg_catalog as $set_actor$
declare
  actor_keys constant text[] := array['id', 'type', 'name', 'session', 'client', 'app', 'on_behalf_of', 'claim'];
  said jsonb;
begin
  if jsonb_typeof(actor) is distinct from 'object' then
    raise exception 'changetrail.set_actor: the actor is a JSON object such as {"id": "alice"}'
      using errcode = 'invalid_parameter_value';
  end if;
  if current_setting('transaction_read_only') = 'on' then
    return;
  end if;
  select coalesce(jsonb_object_agg(key, value), '{}') into said from jsonb_each(actor) where value <> 'null' and key <> 'truncated';
  if octet_length(convert_to(said::text, 'UTF8')) > 65536 then
    with part as (
      select key, value, octet_length(value::text) > 1024 as long,
             row_number() over (order by array_position(actor_keys, key), key) <= 32 and length(key) <= 64 as kept
      from jsonb_each(said)
    )
    select coalesce(
             jsonb_object_agg(key, case when long then to_jsonb(left(value #>> '{}', 128)) else value end)
               filter (where kept and (not long or jsonb_typeof(value) = 'string')),
             '{}')
           || jsonb_build_object('truncated', to_jsonb((array_agg(left(key, 64) order by kept desc, key)
                                                         filter (where long or not kept))[1:16]))
      into said from part;
  end if;
  perform pg_logical_emit_message(true, 'changetrail', convert_to(said::text, 'UTF8'));
end
$set_actor$`;

const SET_ACTOR = `create or replace function changetrail.set_actor(
  id text, type text default null, name text default null, session text default null, client text default null,
  app text default null, on_behalf_of text default null, context jsonb default '{}'
) returns void
language sql volatile set search_path = pg_catalog as $set_actor$
  select changetrail.set_actor(coalesce(context, '{}') || jsonb_strip_nulls(jsonb_build_object(
    'id', id, 'type', type, 'name', name, 'session', session, 'client', client, 'app', app, 'on_behalf_of', on_behalf_of)))
$set_actor$`;

/** Statements that install `changetrail.set_actor`, in order; they may be run again. */
export const SET_ACTOR_SQL: readonly string[] = [
  SCHEMA,
  SET_ACTOR_OBJECT,
  SET_ACTOR,
  'grant usage on schema changetrail to public',
];

/** Statements that take it away. The schema stays when something else is in it. */
export const REMOVE_SET_ACTOR_SQL: readonly string[] = [
  'drop function if exists changetrail.set_actor(text, text, text, text, text, text, text, jsonb)',
  'drop function if exists changetrail.set_actor(jsonb)',
  `do $remove$
begin
  if to_regnamespace('changetrail') is not null
     and not exists (select from pg_depend where refclassid = 'pg_namespace'::regclass and refobjid = to_regnamespace('changetrail')) then
    drop schema changetrail;
  end if;
end
$remove$`,
];
