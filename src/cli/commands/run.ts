import { Command } from 'commander';
import { parseDuration } from '../../config/options.ts';
import { runTrail } from '../../pipeline/run.ts';
import { configOption, configured } from '../configured.ts';
import { REGISTRY_URL, SINKS, SOURCES } from '../registry.ts';
import { durationArgument, stopSignal } from '../signals.ts';

/** `changetrail run`: captures every configured source and feeds every sink until it is told to stop. */
export function runCommand(): Command {
  return new Command('run')
    .description('capture the configured sources and feed the sinks, until Ctrl-C')
    .addOption(configOption())
    .option('--for <duration>', 'stop after this time, for example 20s or 5m', durationArgument)
    .addHelpText(
      'after',
      `
Stops on SIGINT or SIGTERM: what was received is made durable, confirmed and delivered first. A second signal stops at once;
nothing is lost, the next start repeats it.

Examples:
  changetrail run
  changetrail run --config /etc/changetrail.yaml
  changetrail run --for 5m | jq .`,
    )
    .action(async (options: { config: string; for?: string }) => {
      const { configuration, log } = await configured(options.config);
      const stop = stopSignal(log, options.for === undefined ? undefined : parseDuration(options.for));
      try {
        await runTrail({
          configuration,
          sources: SOURCES,
          sinks: SINKS,
          registry: REGISTRY_URL,
          log,
          drain: stop.drain,
          abort: stop.abort,
        });
      } finally {
        stop.dispose();
      }
    });
}
