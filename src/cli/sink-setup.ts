import type { Configuration } from '../config/load.ts';
import type { CheckItem } from '../core/connector.ts';
import type { Logger } from '../telemetry/log.ts';
import { SINKS } from './registry.ts';

const WAIT_MS = 60_000;

/**
 * Prints what the configured sinks' receivers need (templates, lifecycles), and sends it when `apply` is set.
 * @returns what came of each request that was sent
 * @throws AUD_SINK_FAILED when a receiver cannot be asked
 */
export async function setUpSinks(configuration: Configuration, log: Logger, apply: boolean): Promise<CheckItem[]> {
  const results: CheckItem[] = [];
  for (const [name, options] of Object.entries(configuration.sinks)) {
    const sink = await SINKS[options.type]!.create(options, { name, log: log.child({ sink: name }), now: Date.now });
    try {
      const steps = (await sink.setup?.(AbortSignal.timeout(WAIT_MS))) ?? [];
      process.stderr.write(`${name}: ${steps.length === 0 ? 'nothing to do' : `${steps.length} requests`}.\n`);
      for (const step of steps) {
        process.stdout.write(`${step.text}\n\n`);
        if (!apply) continue;
        const result = await step.run(AbortSignal.timeout(WAIT_MS));
        process.stderr.write(`${name}: ${result.name}: ${result.detail}\n`);
        results.push(result);
      }
    } finally {
      await sink.close();
    }
  }
  return results;
}
