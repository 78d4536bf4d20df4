import { Command } from 'commander';
import type { Configuration } from '../../config/load.ts';
import type { Connector } from '../../core/connector.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { configOption, configured } from '../configured.ts';
import { SOURCES } from '../registry.ts';
import { setUpSinks } from '../sink-setup.ts';
import { lookingHost } from './doctor.ts';

interface SetupOptions {
  readonly config: string;
  readonly sessionContext?: boolean;
  readonly remove?: boolean;
  readonly apply?: boolean;
  readonly sinks?: boolean;
}

/** `changetrail setup`: the statements that make the sources ready. Prints; only `--apply` runs any. */
export function setupCommand(): Command {
  return new Command('setup')
    .description('print the statements that make the sources ready for capture')
    .addOption(configOption())
    .option('--session-context', 'statements by which the database itself says who is in session')
    .option('--remove', 'with --session-context: statements that take it away again')
    .option('--sinks', 'requests that the receivers of the sinks need: index templates, lifecycles')
    .option('--apply', 'with --session-context or --sinks: also run them')
    .addHelpText(
      'after',
      `
Prints only; with \`setup: auto\` in the configuration \`run\` does the same by itself. Session context (a statement trigger
that writes one message a transaction) is never installed unless you ask for it here.

Examples:
  changetrail setup | psql "$SHOP_DATABASE_URL"
  changetrail setup --session-context | psql "$SHOP_ADMIN_URL"
  changetrail setup --session-context --remove --apply
  changetrail setup --sinks --apply`,
    )
    .action(async (options: SetupOptions) => {
      requireFitting(options);
      const { configuration, log } = await configured(options.config);
      if (options.sinks === true) {
        const results = await setUpSinks(configuration, log, options.apply === true);
        if (results.some(({ level }) => level === 'error')) process.exitCode = 1;
        return;
      }
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
  const { sessionContext, sinks, remove, apply } = options;
  const both = sessionContext === true && sinks === true;
  if (!both && (sessionContext === true || (remove !== true && (apply !== true || sinks === true)))) return;
  throw new AuditError('AUD_CLI_USAGE', {
    message: both
      ? '--session-context and --sinks do not go together.'
      : '--remove goes with --session-context, --apply with --session-context or --sinks.',
    action: 'See changetrail setup --help.',
  });
}
