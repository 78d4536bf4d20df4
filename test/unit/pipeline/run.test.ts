import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CATALOGS, REGISTRY_URL } from '../../../src/cli/registry.ts';
import { checkConfiguration } from '../../../src/config/load.ts';
import { AuditError } from '../../../src/errors/audit-error.ts';
import { dataLayout } from '../../../src/ledger/layout.ts';
import { runTrail } from '../../../src/pipeline/run.ts';
import { memoryLog } from '../../support/memory-log.ts';
import { ScriptedSink } from '../../support/scripted-sink.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

test('a sink on standard output whose cursor is refused fails alone: sources start', async () => {
  await using dir = await temporaryDirectory();
  const data = dir.join('data');
  const { cursors } = dataLayout(data);
  mkdirSync(cursors, { recursive: true });
  writeFileSync(join(cursors, 'out.json'), '{"index":900}');
  const raw = {
    data,
    sources: { shop: { type: 'postgres', url: 'postgres://localhost/shop' } },
    sinks: { out: { type: 'stdout' } },
  };
  const configuration = await checkConfiguration(raw, data, CATALOGS, {});
  const sink = new ScriptedSink(() => ({ outcome: 'accepted' }));
  const logs = memoryLog();
  const never = new AbortController().signal;
  const done = runTrail({
    configuration,
    sources: {
      postgres: {
        engine: 'postgres',
        load: async () => undefined,
        // As far as this test goes.
        create: async () => {
          await new Promise((resolve) => setImmediate(resolve));
          throw new AuditError('AUD_CONFIG_INVALID', { message: 'The source was started.' });
        },
      },
    },
    sinks: { stdout: { create: async () => sink } },
    registry: REGISTRY_URL,
    log: logs.log,
    drain: never,
    abort: never,
  });
  await expect(done).rejects.toMatchObject({ code: 'AUD_CONFIG_INVALID' });
  expect(logs.count('sink_failed')).toBe(1);
  expect(sink).toMatchObject({ calls: [], closed: 1 });
  const status = JSON.parse(readFileSync(join(data, 'status.json'), 'utf8'));
  expect(status.configuredSinks).toEqual(['out']);
  expect(status.sinks.out).toMatchObject({ state: 'failed', cursor: 900, lastError: expect.stringMatching(/another/) });
});
