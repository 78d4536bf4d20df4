import { Command } from 'commander';
import { configOption, configured } from '../configured.ts';
import { SOURCES } from '../registry.ts';
import { lookingHost } from './doctor.ts';

/** `changetrail setup`: the statements that would make the sources ready; prints, never runs them. */
export function setupCommand(): Command {
  return new Command('setup')
    .description('print the statements that make the sources ready for capture')
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Prints only; with \`setup: auto\` in the configuration \`run\` does the same by itself.

Example:
  changetrail setup | psql "$SHOP_DATABASE_URL"`,
    )
    .action(async (options: { config: string }) => {
      const { configuration, log } = await configured(options.config);
      for (const [name, source] of Object.entries(configuration.sources)) {
        const connector = await SOURCES[source.type]!.create(source, lookingHost(name, configuration, log));
        try {
          const statements = await connector.plan(AbortSignal.timeout(30_000));
          process.stderr.write(
            statements.length === 0 ? `${name}: nothing to do.\n` : `${name}: ${statements.length} statements.\n`,
          );
          for (const statement of statements) process.stdout.write(`${statement};\n`);
        } finally {
          await connector.close();
        }
      }
    });
}
