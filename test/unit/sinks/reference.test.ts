import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { exampleOf, sinkReference } from '../../../scripts/reference/sinks.ts';
import { CATALOGS } from '../../../src/cli/registry.ts';
import { checkConfiguration } from '../../../src/config/load.ts';

/** Whatever an example refers to is there. */
const env = new Proxy(
  {},
  {
    get: (_target, name) =>
      name === 'CHANGETRAIL_DATA' || String(name).startsWith('CHANGETRAIL_') ? undefined : 'a-secret',
  },
);

describe('the page of a sink', () => {
  test.each(CATALOGS.sinks.types)('%s has an example that is a working configuration', async (type) => {
    const schema = await CATALOGS.sinks.options(type);
    const example = parse(exampleOf(type, schema)) as object;
    const raw = { sources: { shop: { type: 'postgres', url: 'postgres://localhost/shop' } }, ...example };
    const { sinks } = await checkConfiguration(raw, '/', CATALOGS, env as NodeJS.ProcessEnv);
    expect(Object.values(sinks)).toMatchObject([{ type }]);
  });

  test.each(CATALOGS.sinks.types)('%s says what delivered means', async (type) => {
    const pages = await sinkReference();
    expect(pages[`${type}.md`]).toContain('| Delivered means |');
    expect(pages['README.md']).toContain(`(${type}.md)`);
  });

  test.each(CATALOGS.sinks.types)('%s describes every option', async (type) => {
    const page = (await sinkReference())[`${type}.md`]!;
    const rows = page.split('\n').filter((line) => line.startsWith('| `') && !line.startsWith('| `type`'));
    expect(rows.length).toBeGreaterThan(5);
    for (const row of rows) expect(row).toMatch(/\| [^| ][^|]* \|$/);
  });
});
