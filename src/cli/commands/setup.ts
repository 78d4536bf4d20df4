import { Command } from 'commander';
import { settingNames } from '../../actor/options.ts';
import type { Configuration } from '../../config/load.ts';
import { REMOVE_SET_ACTOR_SQL, SET_ACTOR_SQL } from '../../context/sql.ts';
import type { Connector } from '../../core/connector.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { configOption, configured } from '../configured.ts';
import { SOURCES } from '../registry.ts';
import { setUpSinks } from '../sink-setup.ts';
import { lookingHost } from './doctor.ts';

interface SetupOptions {
  readonly config: string;
  readonly sessionContext?: boolean;
  readonly setActor?: boolean;
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
    .option('--set-actor', 'the optional function changetrail.set_actor, for psql and other SQL users')
    .option('--remove', 'with --session-context or --set-actor: statements that take it away again')
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
  changetrail setup --set-actor | psql "$SHOP_ADMIN_URL"
  changetrail setup --sinks --apply`,
    )
    .action(async (options: SetupOptions) => {
      requireFitting(options);
      if (options.setActor === true) {
        printStatements(options.remove === true ? REMOVE_SET_ACTOR_SQL : SET_ACTOR_SQL);
        return;
      }
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
          printStatements(statements);
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
  const settings = settingNames(configuration.actors);
  const request = { remove: options.remove === true, apply: options.apply === true, settings };
  return (await connector.sessionContext?.(request)) ?? [];
}

function printStatements(statements: readonly string[]): void {
  for (const statement of statements) process.stdout.write(`${statement};\n`);
}

function requireFitting(options: SetupOptions): void {
  const { sessionContext = false, setActor = false, sinks = false, remove = false, apply = false } = options;
  const several = [sessionContext, setActor, sinks].filter(Boolean).length > 1;
  const misplaced = (remove && !sessionContext && !setActor) || (apply && !sessionContext && !sinks);
  if (!several && !misplaced) return;
  throw new AuditError('AUD_CLI_USAGE', {
    message: several
      ? 'Only one of --session-context, --set-actor and --sinks at a time.'
      : '--remove goes with --session-context or --set-actor, --apply with --session-context or --sinks.',
    action: 'See changetrail setup --help.',
  });
}
