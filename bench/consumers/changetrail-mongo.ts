// The product as one consumer of the MongoDB drain: everything on (actor, record, ledger, fsync, tree) until the expected
// number of changes is durable. The output is the ledger's segment itself.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CATALOGS } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { prepareDataDirectory } from '../../src/ledger/layout.ts';
import { positionFiles } from '../../src/pipeline/positions.ts';
import { consume } from './consume.ts';

const env = process.env;
const data = mkdtempSync(join(env['BENCH_DATA'] ?? tmpdir(), 'changetrail-bench-'));
const layout = prepareDataDirectory(data);
// As if capture had stood before the backlog when it was stopped.
const position = JSON.stringify({ ts: env['START_TS'], seq: -1, token: null });
writeFileSync(positionFiles(layout.positions, 'docs').position, JSON.stringify({ position, index: 0 }));
const source = {
  type: 'mongodb',
  url: env['MONGO_URL'],
  collections: ['perf.*'],
  ...JSON.parse(env['SOURCE'] ?? '{}'),
};
const configuration = await checkConfiguration(
  { data, sources: { docs: source }, ledger: { segment_size: '4GiB' }, actors: JSON.parse(env['ACTORS'] ?? '{}') },
  tmpdir(),
  CATALOGS,
);
await consume(configuration);
