// The product as one consumer of the harness: captures with everything on (actor, record, ledger, fsync, tree) until the
// expected number of changes is durable, then says what it used. The output is the ledger's segment itself.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CATALOGS } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { consume } from './consume.ts';

const env = process.env;
const data = mkdtempSync(join(env['BENCH_DATA'] ?? tmpdir(), 'changetrail-bench-'));
const configuration = await checkConfiguration(
  {
    data,
    sources: {
      shop: {
        type: 'postgres',
        url: `postgres://${env['PGUSER']}@${env['PGHOST']}:${env['PGPORT']}/${env['PGDATABASE']}`,
        tables: ['public.*'],
        slot: env['SLOT'],
        publication: env['PUBLICATION'],
      },
    },
    ledger: { segment_size: '4GiB' },
    actors: JSON.parse(env['ACTORS'] ?? '{}'),
  },
  tmpdir(),
  CATALOGS,
);
await consume(configuration);
