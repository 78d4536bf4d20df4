import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EXAMPLE_CONFIGURATION } from '../../../src/cli/commands/init.ts';
import { CATALOGS } from '../../../src/cli/registry.ts';
import { checkConfiguration, loadConfiguration } from '../../../src/config/load.ts';
import { AuditError } from '../../../src/errors/audit-error.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

const SOURCE = { shop: { type: 'postgres', url: 'postgres://u:p4ss@h/d' } };

/** The error that a configuration is refused with. */
async function refusal(raw: unknown, env: NodeJS.ProcessEnv = {}): Promise<AuditError> {
  const error: unknown = await checkConfiguration(raw, '/', CATALOGS, env).then(
    () => null,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(AuditError);
  return error as AuditError;
}

describe('a configuration', () => {
  test('is complete after loading: every default is filled in', async () => {
    const configuration = await checkConfiguration({ sources: SOURCE }, '/base', CATALOGS, {});
    expect(configuration.data).toBe('/base/changetrail-data');
    expect(configuration.ledger).toMatchObject({
      segment_size: 64 << 20,
      group_ms: 2,
      head_interval: 60_000,
      anchors: [],
    });
    expect(configuration.sources['shop']).toMatchObject({ tables: ['public.*'], setup: 'manual', check_interval: 5 });
  });

  test('printed by init is one that loads', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'changetrail.yaml');
    writeFileSync(file, EXAMPLE_CONFIGURATION);
    const configuration = await loadConfiguration(file, CATALOGS, { SHOP_DATABASE_URL: 'postgres://h/d' });
    expect(Object.keys(configuration.sinks)).toEqual(['out']);
  });

  test('with a misspelt key is refused with the nearest name, at any depth', async () => {
    expect((await refusal({ sorces: SOURCE })).message).toContain('did you mean "sources"');
    const inner = await refusal({ sources: { shop: { ...SOURCE.shop, tabels: ['a.*'] } } });
    expect(inner.message).toContain('sources.shop.tabels');
    expect(inner.message).toContain('did you mean "tables"');
    expect((await refusal({ sources: SOURCE, log: { levle: 'info' } })).message).toContain('did you mean "level"');
  });

  test('with an unknown type proposes the nearest', async () => {
    const error = await refusal({ sources: { shop: { type: 'postgre', url: 'x' } } });
    expect(error.message).toContain('did you mean "postgres"');
  });

  test('without sources, or with a name that could not be part of an id, is refused', async () => {
    expect((await refusal({ sources: {} })).code).toBe('AUD_CONFIG_INVALID');
    expect((await refusal({ sources: { 'Shop:1': SOURCE.shop } })).message).toContain('Shop:1');
  });

  test('names the key and the variable when a reference leads nowhere', async () => {
    const error = await refusal({ sources: { shop: { type: 'postgres', url: '${NOWHERE_URL}' } } });
    expect(error.code).toBe('AUD_CONFIG_SECRET');
    expect(error.message).toContain('sources.shop.url');
    expect(error.message).toContain('NOWHERE_URL');
  });

  test('takes references from environment, default and file', async () => {
    await using directory = await temporaryDirectory();
    const secret = join(directory.path, 'url');
    writeFileSync(secret, 'postgres://from-file/d\n');
    const url = async (text: string, env = {}) => {
      const raw = { sources: { shop: { type: 'postgres', url: text } } };
      return (await checkConfiguration(raw, '/', CATALOGS, env)).sources['shop'] as unknown as { url: string };
    };
    expect((await url(`\${file:${secret}}`)).url).toBe('postgres://from-file/d');
    expect((await url('${URL_A}', { URL_A: 'postgres://a/d' })).url).toBe('postgres://a/d');
    expect((await url('postgres://${HOST:-db}/d')).url).toBe('postgres://db/d');
  });

  test('is overridden by CHANGETRAIL_ variables', async () => {
    const env = { CHANGETRAIL_DATA: '/elsewhere', CHANGETRAIL_LOG_LEVEL: 'debug' };
    const configuration = await checkConfiguration({ sources: SOURCE }, '/', CATALOGS, env);
    expect(configuration.data).toBe('/elsewhere');
    expect(configuration.log.level).toBe('debug');
  });

  test('never shows a password in its refusal', async () => {
    const error = await refusal({ sources: { shop: { ...SOURCE.shop, tables: 'public.*', nonsense: 1 } } });
    expect(`${error.message} ${error.action}`).not.toContain('p4ss');
  });
});

describe('a configuration file', () => {
  test('that is missing, a directory or not YAML is one clear error', async () => {
    await using directory = await temporaryDirectory();
    const load = (name: string) => loadConfiguration(join(directory.path, name), CATALOGS, {});
    mkdirSync(join(directory.path, 'folder'));
    writeFileSync(join(directory.path, 'broken'), 'data: [unclosed\nurl: postgres://u:p4ss@h/d');
    writeFileSync(join(directory.path, 'text'), 'just words');
    await expect(load('none')).rejects.toMatchObject({
      code: 'AUD_CONFIG_FILE',
      message: expect.stringContaining('no configuration file'),
    });
    await expect(load('folder')).rejects.toMatchObject({
      code: 'AUD_CONFIG_FILE',
      message: expect.stringContaining('directory'),
    });
    const broken = await load('broken').catch((error: AuditError) => error);
    expect(broken).toMatchObject({ code: 'AUD_CONFIG_FILE' });
    expect((broken as AuditError).message).not.toContain('p4ss');
    await expect(load('text')).rejects.toMatchObject({ code: 'AUD_CONFIG_FILE' });
  });
});
