import { describe, expect, test } from 'vitest';
import { formatLsn, maxLsn, parseLsn } from '../../../connectors/postgres/lsn.ts';
import { resolvePostgres } from '../../../connectors/postgres/options.ts';
import { tableMatcher } from '../../../connectors/postgres/patterns.ts';
import type { PublicationState } from '../../../connectors/postgres/publications.ts';
import { planPublications } from '../../../connectors/postgres/setup.ts';
import { type CatalogTable, selectTables } from '../../../connectors/postgres/tables.ts';

const KEYED: CatalogTable = {
  oid: 1,
  schema: 'public',
  table: 'keyed',
  partitioned: false,
  ancestors: [],
  identity: 'd',
  primary_key: true,
  identity_index: false,
  generated_stored: false,
  generated_virtual: false,
  logged: true,
};
const KEYLESS: CatalogTable = { ...KEYED, oid: 2, table: 'keyless', primary_key: false };
const ROOT: CatalogTable = { ...KEYED, oid: 10, table: 'root', partitioned: true };
const LEAF: CatalogTable = { ...KEYED, oid: 11, table: 'leaf', ancestors: [10] };

interface Settings {
  readonly partitions?: 'leaf' | 'root';
  readonly full?: boolean;
  readonly held?: readonly number[];
  readonly major?: number;
  readonly tables?: readonly string[];
}

function select(tables: readonly CatalogTable[], settings: Settings = {}) {
  return selectTables(tables, {
    matcher: tableMatcher(settings.tables ?? ['public.*']),
    serverMajor: settings.major ?? 17,
    makeFull: settings.full ?? false,
    held: new Set(settings.held),
    partitions: settings.partitions ?? 'leaf',
  });
}

function plan(
  tables: readonly CatalogTable[],
  publications: readonly PublicationState[] = [],
  settings: Settings = {},
) {
  const options = resolvePostgres('shop', {
    type: 'postgres',
    url: 'postgres://h/d',
    tables: ['public.*'],
    setup: 'auto',
    replica_identity: settings.full ? 'full' : 'keep',
    partitions: settings.partitions ?? 'leaf',
    check_interval: 5,
  });
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  return planPublications({
    options,
    serverMajor: settings.major ?? 17,
    wanted: select(tables, settings).wanted,
    publications: new Map(publications.map((publication) => [publication.name, publication])),
    existing: new Set(byOid.keys()),
    tableOf: (oid) => byOid.get(oid),
  });
}

const published = (...oids: number[]): PublicationState => ({
  oid: 100,
  name: 'changetrail_shop',
  allTables: false,
  viaRoot: false,
  publish: 'insert, update, delete, truncate',
  generated: null,
  tables: new Map(oids.map((oid) => [oid, null])),
  schemas: [],
  version: '1',
  owner: '10',
  entries: new Map(oids.map((oid) => [oid, oid + 1000])),
});
const inserted = (...oids: number[]): PublicationState => ({
  ...published(...oids),
  name: 'changetrail_shop_insert',
  publish: 'insert, truncate',
});

describe('the plan of the publications', () => {
  test('a new one holds what is safe, a second one the rest', () => {
    expect(plan([KEYED, KEYLESS])).toMatchObject({
      statements: [
        'create publication "changetrail_shop" for table only "public"."keyed" with (publish_via_partition_root = false)',
        `create publication "changetrail_shop_insert" for table only "public"."keyless" with (publish = 'insert, truncate', publish_via_partition_root = false)`,
      ],
      creates: true,
      narrowed: [],
    });
  });

  test('nothing is to be done when all is as wanted', () => {
    expect(plan([KEYED], [published(1)])).toMatchObject({ statements: [], added: [], removed: [], creates: false });
  });

  test('a table that lost its key moves, out of the one that makes its writes fail first', () => {
    const { statements, added, removed } = plan([KEYED, KEYLESS], [published(1, 2), inserted()]);
    expect(statements).toEqual([
      'alter publication "changetrail_shop" drop table only "public"."keyless"',
      'alter publication "changetrail_shop_insert" add table only "public"."keyless"',
    ]);
    expect([added, removed]).toEqual([[], []]);
  });

  test('a table that does not fit any more is taken out, one that is gone needs nothing', () => {
    const archived = { ...KEYED, oid: 3, schema: 'archive' };
    expect(plan([KEYED, archived], [published(1, 3, 99)])).toMatchObject({
      statements: ['alter publication "changetrail_shop" drop table only "archive"."keyed"'],
      removed: [3, 99],
    });
  });

  test('one for all tables is left alone', () => {
    expect(plan([KEYED], [{ ...published(), allTables: true }])).toMatchObject({
      statements: [],
      added: [],
      removed: [],
    });
  });

  test('options that somebody changed are set right', () => {
    const changed = { ...published(1), publish: 'insert', viaRoot: true, generated: false };
    expect(plan([KEYED], [changed], { major: 18 })).toMatchObject({
      statements: [
        `alter publication "changetrail_shop" set (publish = 'insert, update, delete, truncate', publish_via_partition_root = false, publish_generated_columns = stored)`,
      ],
      narrowed: [{ publication: 'changetrail_shop', notSeen: ['update', 'delete', 'truncate'], mended: true }],
    });
  });

  test('names are quoted', () => {
    expect(plan([{ ...KEYED, table: 'a"b' }]).statements[0]).toContain('only "public"."a""b"');
  });

  test('REPLICA IDENTITY FULL is set first, on tables that take it', () => {
    const virtual = { ...KEYED, oid: 4, table: 'virtual', generated_virtual: true };
    const { statements } = plan([KEYED, KEYLESS, virtual], [published(1, 4)], { full: true, major: 17 });
    expect(statements.filter((statement) => statement.startsWith('alter table'))).toHaveLength(3);
    expect(
      plan([KEYED, KEYLESS, virtual], [published(1, 4)], { full: true, major: 18 }).statements.slice(0, 2),
    ).toEqual([
      'alter table "public"."keyed" replica identity full',
      'alter table "public"."keyless" replica identity full',
    ]);
  });

  test('a table that is held is published as it is, not altered', () => {
    const { statements } = plan([KEYED, KEYLESS], [published(1), inserted()], { full: true, held: [2] });
    expect(statements).toEqual([
      'alter table "public"."keyed" replica identity full',
      'alter publication "changetrail_shop_insert" add table only "public"."keyless"',
    ]);
  });

  test('apart, each table has its own steps, and leaves what makes its writes fail before it is altered', () => {
    const drop = 'alter publication "changetrail_shop" drop table only "public"."keyless"';
    const add = (name: string, table: string) => `alter publication "${name}" add table only "public"."${table}"`;
    expect(plan([KEYED, KEYLESS], [published(2), inserted()]).steps).toEqual([
      { oids: [2], parts: [[drop, add('changetrail_shop_insert', 'keyless')]], apart: [] },
      { oids: [1], parts: [[add('changetrail_shop', 'keyed')]], apart: [] },
    ]);
    const filtered = { ...published(2), tables: new Map([[2, { filtered: true, leftOut: null }]]) };
    const alter = 'alter table "public"."keyless" replica identity full';
    expect(plan([KEYLESS], [filtered, inserted()], { full: true }).steps).toEqual([
      { oids: [2], parts: [[drop], [alter], [add('changetrail_shop', 'keyless')]], apart: [] },
    ]);
    expect(plan([KEYED, KEYLESS]).steps).toEqual([]);
  });

  test('a table that is altered is in one of the publications all the time', () => {
    const one = (what: string, table: string) =>
      `alter publication "changetrail_shop" ${what} table only "public"."${table}"`;
    const two = (what: string, table: string) => one(what, table).replace('_shop"', '_shop_insert"');
    const alter = (table: string) => `alter table "public"."${table}" replica identity full`;
    expect(plan([KEYLESS], [published(), inserted(2)], { full: true }).steps).toEqual([
      { oids: [2], parts: [[alter('keyless')], [two('drop', 'keyless'), one('add', 'keyless')]], apart: [] },
    ]);
    // Recorded under the partitioned table, which cannot be published with all changes whatever its partitions are.
    const root = { ...ROOT, primary_key: false };
    const settings = { full: true, partitions: 'root' } as const;
    const main = { ...published(10), viaRoot: true };
    expect(plan([root, LEAF], [main, { ...inserted(), viaRoot: true }], settings).steps).toEqual([
      { oids: [10], parts: [[one('drop', 'root'), two('add', 'root')], [alter('root')], [alter('leaf')]], apart: [] },
    ]);
    const listed = { ...inserted(10), viaRoot: true, tables: new Map([[10, { filtered: false, leftOut: ['v'] }]]) };
    expect(plan([root, LEAF], [{ ...main, tables: new Map() }, listed], settings).steps[0]!.parts[0]).toEqual([
      two('drop', 'root'),
      two('add', 'root'),
    ]);
  });

  test('a tree of partitions moves in one step; where writes fail, the partitions before the table above them', () => {
    const one = (what: string, table: string) =>
      `alter publication "changetrail_shop" ${what} table only "public"."${table}"`;
    const two = (what: string, table: string) => one(what, table).replace('_shop"', '_shop_insert"');
    const odd: CatalogTable = { ...LEAF, oid: 12, table: 'odd', identity: 'n' };
    const step = { oids: [10, 11], parts: [[one('drop', 'root'), one('add', 'leaf'), two('add', 'root')]], apart: [] };
    expect(plan([{ ...ROOT, primary_key: false }, LEAF], [published(10), inserted()]).steps).toEqual([step]);
    expect(plan([ROOT, LEAF, odd], [published(10), inserted()]).steps).toEqual([
      {
        oids: [10, 11, 12],
        parts: [[one('drop', 'root'), one('add', 'leaf'), two('add', 'root'), two('add', 'odd')]],
        apart: [
          { oids: [11], parts: [[one('add', 'leaf')]], apart: [] },
          { oids: [12], parts: [[two('add', 'odd')]], apart: [] },
          { oids: [10], parts: [[one('drop', 'root'), two('add', 'root')]], apart: [] },
        ],
      },
    ]);
  });

  test('a partition that comes to be published on its own was published before', () => {
    const root = { ...ROOT, primary_key: false };
    const { covered } = plan([root, LEAF], [published(10)]);
    expect([...covered]).toEqual([[11, 'all']]);
    expect([...plan([root, LEAF], [published(), inserted(10)]).covered]).toEqual([[11, 'insert']]);
  });
});

describe('the choice of tables', () => {
  const brief = (tables: readonly CatalogTable[], settings?: Settings) =>
    select(tables, settings).wanted.map(({ table, allChanges, reason }) => [table, allChanges, reason]);

  test.each([
    ['a primary key', KEYED, null],
    ['a deferrable one, or none', KEYLESS, 'no_replica_identity'],
    ['NOTHING', { ...KEYED, identity: 'n' }, 'no_replica_identity'],
    ['FULL', { ...KEYLESS, identity: 'f' }, null],
    ['an index', { ...KEYLESS, identity: 'i', identity_index: true }, null],
    ['an index that was dropped', { ...KEYED, identity: 'i' }, 'no_replica_identity'],
    ['FULL and a stored generated column', { ...KEYLESS, identity: 'f', generated_stored: true }, null],
    [
      'FULL and a virtual generated column',
      { ...KEYLESS, identity: 'f', generated_virtual: true },
      'generated_columns',
    ],
  ] as const)('%s', (_, table, reason) => {
    expect(brief([table], { major: 18 })).toEqual([[table.table, reason === null, reason]]);
  });

  test('a partition comes with its table, on its own where the patterns name only it', () => {
    expect(brief([ROOT, LEAF])).toEqual([['root', true, null]]);
    expect(brief([ROOT, LEAF], { tables: ['public.leaf'] })).toEqual([['leaf', true, null]]);
    const middle = { ...ROOT, oid: 12, table: 'middle', ancestors: [10] };
    const deep = { ...LEAF, ancestors: [12, 10] };
    expect(brief([ROOT, middle, deep], { tables: ['public.middle', 'public.leaf'] })).toEqual([['middle', true, null]]);
  });

  test('without a key that partitions inherit they are published one by one', () => {
    const root = { ...ROOT, primary_key: false };
    const full: CatalogTable = { ...LEAF, identity: 'f', primary_key: false };
    const odd: CatalogTable = { ...LEAF, oid: 13, table: 'odd', identity: 'n' };
    expect(brief([root, full, odd])).toEqual([
      ['root', false, null],
      ['leaf', true, null],
      ['odd', false, 'no_replica_identity'],
    ]);
    expect(brief([ROOT, full, odd])).toEqual([
      ['root', false, null],
      ['leaf', true, null],
      ['odd', false, 'no_replica_identity'],
    ]);
    expect(brief([root, full], { partitions: 'root' })).toEqual([['root', false, 'partitions_without_key']]);
    expect(brief([ROOT, odd], { partitions: 'root' })).toEqual([['root', false, 'no_replica_identity']]);
    const indexed: CatalogTable = { ...LEAF, identity: 'i', identity_index: true };
    expect(brief([ROOT, indexed], { partitions: 'root' })).toEqual([['root', false, 'partition_identity']]);
    const other: CatalogTable = { ...LEAF, oid: 14, table: 'other' };
    const settings: Settings = { partitions: 'root', full: true };
    expect(brief([ROOT, indexed, other], settings)).toEqual([['root', true, null]]);
    // Of two to be altered, that one is held.
    expect(brief([ROOT, indexed, other], { ...settings, held: [11] })).toEqual([['root', false, 'partition_identity']]);
    expect(brief([ROOT, { ...odd, logged: false }])).toEqual([['root', true, null]]);
  });

  test('unlogged tables and unused patterns are told', () => {
    const selection = select([{ ...KEYED, logged: false }], { tables: ['public.*', 'publik.*', '!public.x'] });
    expect(selection.wanted).toEqual([]);
    expect(selection.unlogged).toHaveLength(1);
    expect(selection.unusedPatterns).toContain('publik.*');
  });
});

describe('patterns', () => {
  test.each([
    ['public.*', 'public', 'a', true],
    ['public.*', 'public', 'a.b\n', true],
    ['public.*', 'public.x', 'a', false],
    ['*.*', 'x.y', 'z', true],
    ['users', 'public', 'users', true],
    ['users', 'other', 'users', false],
    ['public.user?', 'public', 'users', true],
    ['public.user?', 'public', 'user🧨', true],
    ['public.user?', 'public', 'user', false],
    ['public.USERS', 'public', 'users', false],
    ['public.a+b[c]', 'public', 'a+b[c]', true],
    ['public.a.b', 'public', 'a.b', true],
    ['"a.b".c', 'a.b', 'c', true],
    ['"a.b".c', 'a', 'b".c', false],
    ['"we""ird"."*"', 'we"ird', '*', true],
    ['"we""ird"."*"', 'we"ird', 'x', false],
    ['"a"*.t', 'abc', 't', true],
  ])('%s on %s and %s: %s', (pattern, schema, table, fits) => {
    expect(tableMatcher([pattern]).matches(schema, table)).toBe(fits);
  });

  test('the last one that fits decides', () => {
    const matcher = tableMatcher(['public.*', '!public.s*', 'public.shop']);
    expect(['users', 'sessions', 'shop'].map((table) => matcher.matches('public', table))).toEqual([true, false, true]);
    expect(matcher.matches('other', 'users')).toBe(false);
  });
});

describe('positions', () => {
  test.each([
    ['0/0', 0n],
    ['0/1A2B3C8', 0x1a2b3c8n],
    ['16/B374D848', 0x16_b374d848n],
    ['FFFFFFFF/FFFFFFFF', 0xffff_ffff_ffff_ffffn],
  ])('%s', (text, lsn) => {
    expect(parseLsn(text)).toBe(lsn);
    expect(formatLsn(lsn)).toBe(text);
  });

  test.each(['', '1', '0/', '/0', '0/123456789', 'g/0', '0/0 '])('%j is none', (text) => {
    expect(() => parseLsn(text)).toThrow(expect.objectContaining({ code: 'AUD_PG_PROTOCOL' }));
  });

  test('the later of two, where one may be missing', () => {
    expect([maxLsn(null, null), maxLsn(1n, null), maxLsn(null, 2n), maxLsn(3n, 2n), maxLsn(2n, 3n)]).toEqual([
      null,
      1n,
      2n,
      3n,
      3n,
    ]);
  });
});
