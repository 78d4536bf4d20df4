import pg from 'pg';
import { describe, expect, test } from 'vitest';
import {
  emitBehindFirst,
  quoteLiteral,
  rollsBackFirst,
  statementKind,
  withoutQuoted,
} from '../../src/context/sql-text.ts';
import { auditedDatabase } from './support/wal.ts';

describe('statementKind', () => {
  test.each([
    ['insert into t values (1)', 'write'],
    ['  /* a comment */ -- another\n UPDATE t set a = 1', 'write'],
    ['(delete from t)', 'write'],
    ['merge into t using u on true when matched then do nothing', 'write'],
    ['truncate t', 'write'],
    ['copy t from stdin', 'write'],
    ['with x as (insert into t values (1) returning 1) select * from x', 'write'],
    ['select * into u from t', 'write'],
    ['select 1 for update', 'write'],
    ['explain analyze insert into t values (1)', 'write'],
    ['create table t (a int)', 'write'],
    ['alter table t add b int', 'write'],
    ['drop table t', 'write'],
    ['create temp table t (a int)', 'write'],
    ["set local work_mem = '1MB'; insert into t values (1)", 'write'],
    ['savepoint s; update t set a = 1', 'write'],
    ['set transaction isolation level serializable; insert into t values (1)', 'control'],
    ['set session characteristics as transaction read only; delete from t', 'control'],
    ['lock t; insert into t values (1)', 'control'],
    ['set a.b = 1; select 1', 'control'],
    ['select 1', 'read'],
    ['select inserted_at from t', 'read'],
    ['with x as (select 1) select * from x', 'read'],
    ['values (1)', 'read'],
    ['table t', 'read'],
    ['begin', 'control'],
    ['START TRANSACTION', 'control'],
    ['rollback to s', 'control'],
    ['set transaction isolation level serializable', 'control'],
    ['explain insert into t values (1)', 'control'],
    ['vacuum t', 'control'],
    ['lock table t', 'control'],
    ['', 'control'],
    [';', 'control'],
    ['call p()', 'other'],
    ['do $$ begin end $$', 'other'],
    ['create index concurrently i on t (a)', 'other'],
    ['alter table t detach partition p concurrently', 'other'],
    ['create database d', 'other'],
    ['execute prepared', 'other'],
  ])('%s is %s', (sql, kind) => {
    expect(statementKind(sql)).toBe(kind);
  });

  // With a pattern that backtracks this would not end within the test's time.
  test('ends soon on hostile text', () => {
    const texts = [' '.repeat(1e6), '/*'.repeat(5e5), '--'.repeat(5e5), `select ${' '.repeat(1e6)}`, '(;'.repeat(5e5)];
    expect(texts.map(statementKind)).toEqual(['control', 'control', 'control', 'read', 'control']);
  });
});

describe('withoutQuoted', () => {
  test.each([
    ["select '; end'; commit", 'select ; commit'],
    ["select 'it''s; end' || 'x'", 'select ||'],
    ["select E'\\'; end' || e'\\\\'; commit", 'select E || e ; commit'],
    ["select E'a''\\'; end'; commit", 'select E ; commit'],
    ["select type'\\'; commit", 'select type ; commit'],
    ['rollback to "a;b"; insert', 'rollback to ; insert'],
    ['do $$ begin perform 1; end $$; commit', 'do ; commit'],
    ['do $a$ $$; end $b$ $a$; commit', 'do ; commit'],
    ['select a$b$ from t; end', 'select a$b$ from t; end'],
    ['select $1, $2; end', 'select $1, $2; end'],
    ['commit -- ; begin\n; end', 'commit ; end'],
    ['commit /* ; begin /* ; */ ; end */; end', 'commit ; end'],
    ["select 'open; end", 'select'],
    ['select $$ open; end', 'select'],
    ['select /* open; end', 'select'],
    [
      'create function f(a int) returns int begin atomic; select case a when 1 then 2 end; end; commit',
      'create function f(a int) returns int ; commit',
    ],
    ['begin; select case when a then b end; end', 'begin; select case when a then b end; end'],
  ])('of %s leaves %s', (sql, left) => {
    const bare = withoutQuoted(sql);
    expect(bare.replace(/\s+/g, ' ').trim()).toBe(left);
    expect(bare).toHaveLength(sql.length);
    for (let at = 0; at < sql.length; at++) expect([' ', sql[at]]).toContain(bare[at]);
  });

  test('ends soon on hostile text', () => {
    const texts = ["E'\\'".repeat(3e5), '$a'.repeat(5e5), '/*'.repeat(5e5), '$'.repeat(1e6), `E'${'\\'.repeat(1e6)}`];
    for (const text of texts) expect(withoutQuoted(text).length).toBeLessThanOrEqual(text.length);
  });
});

test('emitBehindFirst puts the message behind a begin or a rollback that something is changed after', () => {
  expect(emitBehindFirst('begin; insert into t values (1); commit', 'M')).toBe(
    'begin;M; insert into t values (1); commit',
  );
  expect(emitBehindFirst('START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE;update t set a=1', 'M')).toBe(
    'START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE;M;update t set a=1',
  );
  expect(emitBehindFirst('rollback to savepoint s; insert into t values (1)', 'M')).toBe(
    'rollback to savepoint s;M; insert into t values (1)',
  );
  expect(emitBehindFirst('ROLLBACK WORK TO s;update t set a=1', 'M')).toBe('ROLLBACK WORK TO s;M;update t set a=1');
  expect(emitBehindFirst('rollback to "a;b"; insert into t values (1)', 'M')).toBe(
    'rollback to "a;b";M; insert into t values (1)',
  );
  expect(emitBehindFirst('begin /* ; */; delete from t', 'M')).toBe('begin /* ; */;M; delete from t');
  expect(emitBehindFirst('begin; do $$ begin delete from t; end $$', 'M')).toBe(
    'begin;M; do $$ begin delete from t; end $$',
  );
  expect(rollsBackFirst('rollback to s -- ; select 1')).toBe(false);
  expect(emitBehindFirst('rollback; insert into t values (1)', 'M')).toBeNull();
  expect(emitBehindFirst('begin', 'M')).toBeNull();
  expect(emitBehindFirst('begin; select 1; commit', 'M')).toBeNull();
  expect(emitBehindFirst('begin; set transaction read only; insert into t values (1)', 'M')).toBeNull();
  expect(emitBehindFirst('commit; insert into t values (1)', 'M')).toBeNull();
});

test('a quoted literal means the same text under both settings of the server', async () => {
  await using database = await auditedDatabase('select 1');
  const texts = [
    "'",
    "\\'",
    '\\',
    "''; drop table x; --",
    '\\\\',
    "a\\'b''c",
    '\\u0027',
    "E'",
    '$1',
    "'||(select 1)||'",
  ];
  const client = new pg.Client(database.url);
  await client.connect();
  for (const setting of ['on', 'off']) {
    await client.query(`set escape_string_warning = off; set standard_conforming_strings = ${setting}`);
    for (const text of texts) {
      const { rows } = await client.query(`select ${quoteLiteral(text)} as text`);
      expect(rows).toEqual([{ text }]);
    }
  }
  await client.end();
});
