import { Command } from 'commander';
import type { Configuration } from '../../config/load.ts';
import type { Connector } from '../../core/connector.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { configOption, configured } from '../configured.ts';
import { SOURCES } from '../registry.ts';
import { lookingHost } from './doctor.ts';

interface SetupOptions {
  readonly config: string;
  readonly sessionContext?: boolean;
  readonly remove?: boolean;
  readonly apply?: boolean;
}

/** `changetrail setup`: the statements that make the sources ready. Prints; only `--session-context --apply` runs any. */
export function setupCommand(): Command {
  return new Command('setup')
    .description('print the statements that make the sources ready for capture')
    .addOption(configOption())
    .option('--session-context', 'statements by which the database itself says who is in session')
    .option('--remove', 'with --session-context: statements that take it away again')
    .option('--apply', 'with --session-context: also run them, as the user of the source')
    .addHelpText(
      'after',
      `
Prints only; with \`setup: auto\` in the configuration \`run\` does the same by itself. Session context (a statement trigger
that writes one message a transaction) is never installed unless you ask for it here.

Examples:
  changetrail setup | psql "$SHOP_DATABASE_URL"
  changetrail setup --session-context | psql "$SHOP_ADMIN_URL"
  changetrail setup --session-context --remove --apply`,
    )
    .action(async (options: SetupOptions) => {
      requireFitting(options);
      const { configuration, log } = await configured(options.config);
      for (const [name, source] of Object.entries(configuration.sources)) {
        const connector = await SOURCES[source.type]!.create(source, lookingHost(name, configuration, log));
        try {
          const statements = await statementsOf(connector, options, configuration);
          const done = options.apply === true ? ', done' : '';
          process.stderr.write(
            statements.length === 0
              ? `${name}: nothing to do.\n`
              : `${name}: ${statements.length} statements${done}.\n`,
          );
          for (const statement of statements) process.stdout.write(`${statement};\n`);
        } finally {
          await connector.close();
        }
      }
    });
}

async function statementsOf(
  connector: Connector,
  options: SetupOptions,
  configuration: Configuration,
): Promise<readonly string[]> {
  if (options.sessionContext !== true) return connector.plan(AbortSignal.timeout(30_000));
  const settings = [...new Set(configuration.actors.settings.map((setting) => setting.name))];
  const request = { remove: options.remove === true, apply: options.apply === true, settings };
  return (await connector.sessionContext?.(request)) ?? [];
}

function requireFitting(options: SetupOptions): void {
  if (options.sessionContext === true || (options.remove !== true && options.apply !== true)) return;
  throw new AuditError('AUD_CLI_USAGE', {
    message: '--remove and --apply go with --session-context.',
    action: 'See changetrail setup --help.',
  });
}
