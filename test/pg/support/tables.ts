// Tables of every kind an application may have, and what may be seen of them.
export type Seen = 'all' | 'insert' | 'nothing';

export interface TableCase {
  readonly name: string;
  /** Makes the table (and what belongs to it), with columns `id` and `v` to write. */
  readonly ddl: string;
  /** What of its changes is in the trail when nothing about the table may be changed. */
  readonly seen: Seen;
  /** The same with `replica_identity: full`. */
  readonly full: Seen;
  readonly since?: number;
  /** The value to write into `id`, where not every one goes. */
  readonly ids?: readonly [number, number];
}

export const TABLE_CASES: readonly TableCase[] = [
  { name: 'with_key', ddl: 'create table with_key (id int primary key, v int)', seen: 'all', full: 'all' },
  { name: 'without_key', ddl: 'create table without_key (id int, v int)', seen: 'insert', full: 'all' },
  {
    name: 'deferrable_key',
    ddl: 'create table deferrable_key (id int primary key deferrable, v int)',
    seen: 'insert',
    full: 'all',
  },
  {
    name: 'nothing',
    ddl: 'create table nothing (id int primary key, v int); alter table nothing replica identity nothing',
    seen: 'insert',
    full: 'all',
  },
  {
    name: 'full_identity',
    ddl: 'create table full_identity (id int, v int); alter table full_identity replica identity full',
    seen: 'all',
    full: 'all',
  },
  {
    name: 'full_stored',
    ddl: `create table full_stored (id int, v int, g int generated always as (v * 2) stored);
      alter table full_stored replica identity full`,
    seen: 'all',
    full: 'all',
  },
  {
    name: 'key_stored',
    ddl: 'create table key_stored (id int primary key, v int, g int generated always as (v * 2) stored)',
    seen: 'all',
    full: 'all',
  },
  {
    name: 'generated_key',
    ddl: 'create table generated_key (id int, v int, g int generated always as (id + 1) stored primary key)',
    seen: 'all',
    full: 'all',
  },
  {
    name: 'full_virtual',
    ddl: `create table full_virtual (id int, v int, g int generated always as (v * 2) virtual);
      alter table full_virtual replica identity full`,
    seen: 'insert',
    full: 'insert',
    since: 18,
  },
  {
    name: 'key_virtual',
    ddl: 'create table key_virtual (id int primary key, v int, g int generated always as (v * 2) virtual)',
    seen: 'all',
    full: 'all',
    since: 18,
  },
  {
    name: 'index_identity',
    ddl: `create table index_identity (id int not null, v int);
      create unique index index_identity_id on index_identity (id) include (v);
      alter table index_identity replica identity using index index_identity_id`,
    seen: 'all',
    full: 'all',
  },
  {
    name: 'index_dropped',
    ddl: `create table index_dropped (id int not null, v int);
      create unique index index_dropped_id on index_dropped (id);
      alter table index_dropped replica identity using index index_dropped_id; drop index index_dropped_id`,
    seen: 'insert',
    full: 'all',
  },
  {
    name: 'key_include',
    ddl: 'create table key_include (id int, v int, primary key (id) include (v))',
    seen: 'all',
    full: 'all',
  },
  { name: 'not_logged', ddl: 'create unlogged table not_logged (id int, v int)', seen: 'nothing', full: 'nothing' },
  { name: 'parent', ddl: 'create table parent (id int primary key, v int)', seen: 'all', full: 'all' },
  { name: 'child', ddl: 'create table child () inherits (parent)', seen: 'insert', full: 'all' },
  {
    name: 'parts',
    ddl: `create table parts (id int primary key, v int) partition by list (id);
      create table parts_1 partition of parts for values in (1); create table parts_2 partition of parts for values in (2)`,
    seen: 'all',
    full: 'all',
  },
  {
    name: 'parts_keyless',
    ddl: `create table parts_keyless (id int, v int) partition by list (id);
      create table parts_keyless_1 partition of parts_keyless for values in (1);
      create table parts_keyless_2 partition of parts_keyless for values in (2)`,
    seen: 'insert',
    full: 'all',
  },
  {
    name: 'parts_odd',
    ddl: `create table parts_odd (id int primary key, v int) partition by list (id);
      create table parts_odd_1 partition of parts_odd for values in (1); alter table parts_odd_1 replica identity nothing;
      create table parts_odd_2 partition of parts_odd for values in (2); alter table parts_odd_2 replica identity nothing`,
    seen: 'insert',
    full: 'all',
  },
  {
    name: 'parts_unlogged',
    ddl: `create table parts_unlogged (id int, v int) partition by list (id);
      create unlogged table parts_unlogged_1 partition of parts_unlogged for values in (1, 2)`,
    seen: 'nothing',
    full: 'nothing',
  },
  {
    name: 'parts_deep',
    ddl: `create table parts_deep (id int, v int) partition by list (id);
      create table parts_deep_1 partition of parts_deep for values in (1, 2) partition by list (id);
      create table parts_deep_1_1 partition of parts_deep_1 for values in (1); alter table parts_deep_1_1 replica identity full;
      create table parts_deep_1_2 partition of parts_deep_1 for values in (2); alter table parts_deep_1_2 replica identity full`,
    seen: 'all',
    full: 'all',
  },
];

export function tableCases(major: number): TableCase[] {
  return TABLE_CASES.filter(({ since }) => since === undefined || major >= since);
}

/** All an application does to a table; every statement must go, before and after it is captured. */
export function writesTo(table: string): string[] {
  return [
    `insert into ${table} (id, v) values (1, 1)`,
    `insert into ${table} (id, v) values (2, 2)`,
    `update ${table} set v = v + 1`,
    `delete from ${table} where id = 1`,
    `truncate ${table}`,
  ];
}

/** How often each action is in the trail after `writesTo`. */
export function actionsOf(seen: Seen): Record<string, number> {
  if (seen === 'nothing') return {};
  return seen === 'insert' ? { insert: 2, truncate: 1 } : { insert: 2, update: 2, delete: 1, truncate: 1 };
}
