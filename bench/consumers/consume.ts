// One run of the product as a consumer of the harness: until the expected number of changes is durable, then what it used.
import { linkSync } from 'node:fs';
import { REGISTRY_URL, SINKS, SOURCES } from '../../src/cli/registry.ts';
import type { Configuration } from '../../src/config/load.ts';
import { dataLayout, segmentPath } from '../../src/ledger/layout.ts';
import { runTrail } from '../../src/pipeline/run.ts';
import { createLogger } from '../../src/telemetry/log.ts';

/** Captures until `EXPECTED` changes are durable or SIGTERM, then prints the figures. The harness removes the data directory. */
export async function consume(configuration: Configuration): Promise<void> {
  const { data } = configuration;
  const expected = Number(process.env['EXPECTED']);
  const linkOutput = outputLinker(segmentPath(dataLayout(data).segments, 0), process.env['OUT']);
  const drain = new AbortController();
  process.on('SIGTERM', () => drain.abort());
  let changes = 0;
  const { records } = await runTrail({
    configuration,
    sources: SOURCES,
    sinks: SINKS,
    registry: REGISTRY_URL,
    log: createLogger({ level: 'warn', format: 'json' }),
    drain: drain.signal,
    abort: new AbortController().signal,
    onProgress: (total) => {
      changes = total;
      if (total > 0) linkOutput();
      if (total >= expected) drain.abort();
    },
  });
  linkOutput();
  const usage = process.resourceUsage();
  const cpuSeconds = (usage.userCPUTime + usage.systemCPUTime) / 1e6;
  process.stdout.write(`${JSON.stringify({ changes, records, cpuSeconds, peakRssMiB: usage.maxRSS / 1024 })}\n`);
}

/** The output is the segment under a second name: nothing is copied. */
function outputLinker(segment: string, out: string | undefined): () => void {
  let linked = false;
  return () => {
    if (linked || out === undefined) return;
    linkSync(segment, out);
    linked = true;
  };
}
