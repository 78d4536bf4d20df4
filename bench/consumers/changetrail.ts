// The product as one consumer of the harness: captures with everything on (actor, record, ledger, fsync, tree) until the
// expected number of changes is durable, then says what it used. The output is the ledger's segment itself.
import { linkSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { dataLayout, segmentPath } from '../../src/ledger/layout.ts';
import { runTrail } from '../../src/pipeline/run.ts';
import { createLogger } from '../../src/telemetry/log.ts';

const env = process.env;
const expected = Number(env['EXPECTED']);
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
/** The output is the segment under a second name: nothing is copied. */
let linked = false;
function linkOutput(): void {
  if (linked || env['OUT'] === undefined) return;
  linkSync(segmentPath(dataLayout(data).segments, 0), env['OUT']);
  linked = true;
}
const drain = new AbortController();
process.on('SIGTERM', () => drain.abort());
let changes = 0;
const outcome = await runTrail({
  configuration,
  sources: SOURCES,
  sinks: SINKS,
  registry: REGISTRY_URL,
  log: createLogger({ level: 'warn', format: 'json' }),
  drain: drain.signal,
  abort: new AbortController().signal,
  onProgress: (total) => {
    changes = total;
    linkOutput();
    if (total >= expected) drain.abort();
  },
});
linkOutput();
rmSync(data, { recursive: true, force: true });
const usage = process.resourceUsage();
process.stdout.write(
  `${JSON.stringify({ changes, records: outcome.records, cpuSeconds: (usage.userCPUTime + usage.systemCPUTime) / 1e6, peakRssMiB: usage.maxRSS / 1024 })}\n`,
);
