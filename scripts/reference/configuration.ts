import { z } from 'zod';
import { EXAMPLE_CONFIGURATION } from '../../src/cli/commands/init.ts';
import { CATALOGS } from '../../src/cli/registry.ts';
import type { OptionCatalog } from '../../src/config/load.ts';
import { rootOptions } from '../../src/config/options.ts';
import { optionTable } from './options.ts';

type JsonObject = { [key: string]: unknown };

function jsonSchema(schema: z.ZodType): JsonObject {
  return z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input', unrepresentable: 'any' }) as JsonObject;
}

/** One schema of the whole file: each source and sink is checked by the type it names. */
export async function configurationSchema(): Promise<JsonObject> {
  const schema = jsonSchema(rootOptions);
  const properties = schema['properties'] as Record<string, JsonObject>;
  for (const group of ['sources', 'sinks'] as const) {
    properties[group] = { ...properties[group], additionalProperties: { oneOf: await alternatives(CATALOGS[group]) } };
  }
  return { ...schema, $id: 'https://changetrail.dev/schema/configuration.v1.json', title: 'Changetrail configuration' };
}

async function alternatives(catalog: OptionCatalog): Promise<JsonObject[]> {
  const schemas: JsonObject[] = [];
  for (const type of catalog.types) {
    const { $schema: _, ...schema } = jsonSchema(await catalog.options(type));
    schemas.push(schema);
  }
  return schemas;
}

export async function configurationReference(): Promise<string> {
  const parts = [
    `<!-- Generated from the option tables by npm run generate. -->

# Configuration

One YAML (or JSON) file, \`./changetrail.yaml\` unless \`--config FILE\` or \`CHANGETRAIL_CONFIG\` names another. \`changetrail init\` prints one to start from:

\`\`\`yaml
${EXAMPLE_CONFIGURATION.trim()}
\`\`\`

- \`\${NAME}\` in a value is taken from the environment, \`\${NAME:-text}\` with a default, \`\${file:/path}\` from a file. A missing one is an error.
- Unknown keys are refused, and the nearest known name is proposed.
- \`CHANGETRAIL_DATA\`, \`CHANGETRAIL_LOG_LEVEL\` and \`CHANGETRAIL_LOG_FORMAT\` override the file.
- Durations are written \`500ms\`, \`20s\`, \`5m\`, \`12h\`, \`400d\`; sizes \`64MiB\`.
- The same as JSON Schema, for editors: \`schema/configuration.v1.json\`.

## Top level

${optionTable(rootOptions)}`,
  ];
  for (const group of ['sources', 'sinks'] as const) {
    for (const type of CATALOGS[group].types) {
      parts.push(
        `## ${group === 'sources' ? 'Source' : 'Sink'}: \`${type}\`\n\n${optionTable(await CATALOGS[group].options(type))}`,
      );
    }
  }
  return `${parts.join('\n')}`;
}
