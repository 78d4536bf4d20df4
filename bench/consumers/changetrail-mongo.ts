// The product as one consumer of the MongoDB drain: everything on (actor, record, ledger, fsync, tree) until the expected
// number of changes is durable. The output is the ledger's segment itself.
import { linkSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { prepareDataDirectory, segmentPath } from '../../src/ledger/layout.ts';
import { positionFiles } from '../../src/pipeline/positions.ts';
import { runTrail } from '../../src/pipeline/run.ts';
import { createLogger } from '../../src/telemetry/log.ts';

const env = process.env;
const expected = Number(env['EXPECTED']);
const data = mkdtempSync(join(env['BENCH_DATA'] ?? tmpdir(), 'changetrail-bench-'));
const layout = prepareDataDirectory(data);
// As if capture had stood before the backlog when it was stopped.
const position = JSON.stringify({ ts: env['START_TS'], seq: -1, token: null });
writeFileSync(positionFiles(layout.positions, 'docs').position, JSON.stringify({ position, index: 0 }));
const source = {
  type: 'mongodb',
  url: env['MONGO_URL'],
  collections: ['perf.orders'],
  ...JSON.parse(env['SOURCE'] ?? '{}'),
};
const configuration = await checkConfiguration(
  { data, sources: { docs: source }, ledger: { segment_size: '4GiB' }, actors: JSON.parse(env['ACTORS'] ?? '{}') },
  tmpdir(),
  CATALOGS,
);
/** The output is the segment under a second name: nothing is copied. */
let linked = false;
function linkOutput(): void {
  if (linked || env['OUT'] === undefined) return;
  linkSync(segmentPath(layout.segments, 0), env['OUT']);
  linked = true;
}
const drain = new AbortController();
process.on('SIGTERM', () => drain.abort());
let changes = 0;
await runTrail({
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
  `${JSON.stringify({ changes, cpuSeconds: (usage.userCPUTime + usage.systemCPUTime) / 1e6, peakRssMiB: usage.maxRSS / 1024 })}\n`,
);
