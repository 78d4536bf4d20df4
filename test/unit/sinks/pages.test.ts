import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { SINK_NOTES } from '../../../scripts/reference/sink-notes.ts';
import { sinkExample, sinkPages } from '../../../scripts/reference/sinks.ts';
import { CATALOGS } from '../../../src/cli/registry.ts';

const types = CATALOGS.sinks.types;

describe('pages of the sinks', () => {
  test.each(types)('the example of %s is a valid configuration', async (type) => {
    const schema = await CATALOGS.sinks.options(type);
    const { sinks } = parse(sinkExample(type, schema)) as { sinks: Record<string, unknown> };
    for (const options of Object.values(sinks)) expect(schema.safeParse(options).error?.issues).toBeUndefined();
  });

  test('there is one for each, with its example and all its options', async () => {
    const pages = await sinkPages();
    for (const type of types) {
      const schema = await CATALOGS.sinks.options(type);
      const page = pages[`docs/reference/sinks/${type}.md`];
      expect(page).toContain(sinkExample(type, schema));
      for (const key of Object.keys((schema as unknown as { shape: object }).shape))
        expect(page).toContain(`| \`${key}\` |`);
    }
  });

  test('notes are about sinks that there are', () => {
    for (const type of Object.keys(SINK_NOTES)) expect(types).toContain(type);
  });
});
