// Writes every file that is made from code: JSON Schemas and reference pages. `--check` only compares and exits 1 on a difference.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { recordJsonSchema } from '../src/record/schema.ts';
import { grafanaDashboard } from './integrations/grafana.ts';
import { searchIntegrations } from './integrations/search.ts';
import { cliReference } from './reference/cli.ts';
import { configurationReference, configurationSchema } from './reference/configuration.ts';
import { errorReference } from './reference/errors.ts';
import { mappingsReference } from './reference/mappings.ts';
import { recordReference } from './reference/record.ts';
import { sinkReference } from './reference/sinks.ts';
import { sha256Lanes } from './wasm/sha256-lanes.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** Path from the project's root → content. */
const FILES: Readonly<Record<string, () => Promise<string> | string>> = {
  'src/ledger/sha256-lanes.ts': sha256Lanes,
  'schema/record.v1.json': () => json(recordJsonSchema()),
  'schema/configuration.v1.json': async () => json(await configurationSchema()),
  'docs/reference/record.md': recordReference,
  'docs/reference/mappings.md': mappingsReference,
  'docs/reference/configuration.md': configurationReference,
  'docs/reference/errors.md': errorReference,
  'docs/reference/cli.md': cliReference,
  'integrations/grafana/dashboard.json': () => json(grafanaDashboard()),
  ...Object.fromEntries(
    Object.entries(await sinkReference()).map(([page, text]) => [`docs/reference/sinks/${page}`, () => text]),
  ),
  ...Object.fromEntries(Object.entries(searchIntegrations()).map(([path, text]) => [path, () => text])),
};

const check = process.argv.includes('--check');
const stale: string[] = [];
for (const [name, make] of Object.entries(FILES)) {
  const path = join(root, name);
  const content = await make();
  if (existsSync(path) && readFileSync(path, 'utf8') === content) continue;
  stale.push(relative(root, path));
  if (check) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
if (stale.length > 0)
  process.stderr.write(`${check ? 'Out of date (run npm run generate)' : 'Written'}: ${stale.join(', ')}\n`);
process.exitCode = check && stale.length > 0 ? 1 : 0;
