import { afterEach, expect, test, vi } from 'vitest';
import {
  firstThatWorks,
  maySkip,
  NotHere,
  noteSkipped,
  skippedProviders,
  UnavailableError,
} from '../../support/chain.ts';
import { postgresMajors } from '../../support/provide.ts';

afterEach(() => vi.unstubAllEnvs());

const fails = (name: string, error: Error, decisive = false) => ({ name, decisive, open: () => Promise.reject(error) });

test('the first way that works is taken and the later ones are not tried', async () => {
  const later = vi.fn();
  const ways = [
    fails('one', new Error('broken')),
    { name: 'two', open: async () => 'server' },
    { name: 'three', open: later },
  ];
  expect(await firstThatWorks('PostgreSQL 18', ways, '')).toBe('server');
  expect(later).not.toHaveBeenCalled();
});

test('when none works every way is listed with its reason, and what to do', async () => {
  const ways = [fails('PATH', new NotHere('there is none')), fails('npm', new Error('no network'))];
  const error = await firstThatWorks('PostgreSQL 18', ways, 'Install one.').catch((thrown) => thrown);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.message).toBe('no PostgreSQL 18. Tried:\n  - PATH: there is none\n  - npm: no network\nInstall one.');
  expect(error.tried).toEqual([
    { way: 'PATH', why: 'there is none' },
    { way: 'npm', why: 'no network' },
  ]);
});

test('a way asked for by name that fails is not replaced by another one', async () => {
  const other = { name: 'npm', open: vi.fn() };
  const ways = [fails('CHANGETRAIL_TEST_PG_18', new Error('refused'), true), other];
  await expect(firstThatWorks('PostgreSQL 18', ways, '')).rejects.toThrow('CHANGETRAIL_TEST_PG_18: refused');
  expect(other.open).not.toHaveBeenCalled();
});

test('a way asked for by name that was not asked for is passed over', async () => {
  const ways = [
    fails('CHANGETRAIL_TEST_PG_18', new NotHere('not set'), true),
    { name: 'npm', open: async () => 'server' },
  ];
  expect(await firstThatWorks('PostgreSQL 18', ways, '')).toBe('server');
});

test('a missing database is skipped only when that is said explicitly', () => {
  vi.stubEnv('CHANGETRAIL_SKIP_MISSING_DATABASES', '');
  expect(maySkip()).toBe(false);
  vi.stubEnv('CHANGETRAIL_SKIP_MISSING_DATABASES', '1');
  expect(maySkip()).toBe(true);
});

test('a skipped database is counted once', () => {
  vi.stubEnv('CHANGETRAIL_TEST_SKIPPED', '');
  noteSkipped('PostgreSQL 13');
  noteSkipped('PostgreSQL 13');
  expect(skippedProviders()).toEqual(['PostgreSQL 13']);
});

test('the majors to test are the oldest and the newest, all, or a list; a wrong one is refused', () => {
  vi.stubEnv('CHANGETRAIL_TEST_PG_MAJORS', '');
  expect(postgresMajors()).toEqual([14, 18]);
  vi.stubEnv('CHANGETRAIL_TEST_PG_MAJORS', 'all');
  expect(postgresMajors()).toEqual([14, 15, 16, 17, 18]);
  vi.stubEnv('CHANGETRAIL_TEST_PG_MAJORS', '15, 17');
  expect(postgresMajors()).toEqual([15, 17]);
  vi.stubEnv('CHANGETRAIL_TEST_PG_MAJORS', '13');
  expect(() => postgresMajors()).toThrow('"13" is none of 14, 15, 16, 17, 18 or all');
});
