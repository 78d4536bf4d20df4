import { Command } from 'commander';
import { ActorMetrics } from '../../actor/metrics.ts';
import { createActorStage } from '../../actor/stage.ts';
import type { Configuration } from '../../config/load.ts';
import type { CheckItem, Connector, SourceHost } from '../../core/connector.ts';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import { compileFilter } from '../../pipeline/delivery/filter.ts';
import type { DeliveryOptions } from '../../pipeline/delivery/options.ts';
import type { Logger } from '../../telemetry/log.ts';
import { configOption, configured } from '../configured.ts';
import { paletteFor } from '../pretty.ts';
import { SINKS, SOURCES } from '../registry.ts';

interface Finding extends CheckItem {
  readonly part: string;
}

/**
 * `changetrail doctor`: looks at every source, which it does not change, and sends a test event to every sink. Exit 1 when
 * something is wrong.
 */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look at every source, send every sink a test event, and say what would keep them from working')
    .addOption(configOption())
    .option('--json', 'the findings as JSON')
    .addHelpText(
      'after',
      `
Sources are not changed. Sinks get one record of the kind capture with the action test, which is not in the ledger; files
and standard output are only looked at. Exit code 1 when there is an error among the findings.

Example:
  changetrail doctor --config /etc/changetrail.yaml`,
    )
    .action(async (options: { config: string; json?: boolean }) => {
      const { configuration, log } = await configured(options.config);
      const findings = [...(await checkSources(configuration, log)), ...(await checkSinks(configuration, log))];
      if (options.json === true) process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
      else print(findings);
      if (findings.some((finding) => finding.level === 'error')) process.exitCode = 1;
    });
}

async function checkSources(configuration: Configuration, log: Logger): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, options] of Object.entries(configuration.sources)) {
    const create = () => SOURCES[options.type]!.create(options, lookingHost(name, configuration, log));
    findings.push(...(await reported(`source ${name}`, create)));
  }
  return findings;
}

async function checkSinks(configuration: Configuration, log: Logger): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, options] of Object.entries(configuration.sinks)) {
    const create = async () => {
      const { filter } = options as unknown as DeliveryOptions;
      if (filter !== undefined) compileFilter(filter, () => undefined);
      return SINKS[options.type]!.create(options, { name, log: log.child({ sink: name }), now: Date.now });
    };
    findings.push(...(await reported(`sink ${name}`, create)));
  }
  return findings;
}

const WAIT_MS = 30_000;

/** What one part says of itself; that it cannot even be asked is a finding too, and must not hide those of the others. */
async function reported(part: string, create: () => Promise<Pick<Connector, 'check' | 'close'>>): Promise<Finding[]> {
  const signal = AbortSignal.timeout(WAIT_MS);
  try {
    const component = await create();
    try {
      const { items } = await component.check(signal);
      return items.map((item) => ({ part, ...item }));
    } finally {
      await component.close();
    }
  } catch (error) {
    return [{ part, ...failureOf(error, signal) }];
  }
}

function failureOf(error: unknown, signal: AbortSignal): CheckItem {
  if (error instanceof AuditError) {
    const fix = error.action === undefined ? {} : { fix: error.action };
    return { name: error.code, level: 'error', detail: error.message, ...fix };
  }
  if (!signal.aborted) return { name: 'check', level: 'error', detail: `The check failed: ${messageOf(error)}.` };
  return {
    name: 'check',
    level: 'error',
    detail: `No answer within ${WAIT_MS / 1000} s.`,
    fix: 'Look whether it is overloaded, or a firewall or proxy stands in between.',
  };
}

/** A host for connectors that are only asked to look: there is no ledger to write to. */
export function lookingHost(name: string, configuration: Configuration, log: Logger): SourceHost {
  const nothing = () => {
    throw new TypeError('A check writes no records.');
  };
  return {
    name,
    log: log.child({ source: name }),
    actors: createActorStage({ source: name, options: configuration.actors, metrics: new ActorMetrics() }),
    output: {
      begin: nothing,
      end: nothing,
      abort: nothing,
      reached: nothing,
      idle: nothing,
      full: false,
      drained: () => Promise.resolve(),
      settled: () => Promise.resolve(),
      control: nothing,
    },
    now: Date.now,
    remember: nothing,
    metrics: { changes: 0, transactions: 0, bytes: 0, lagMs: 0, state: 'stopped', lastError: null },
  };
}

function print(findings: readonly Finding[]): void {
  const p = paletteFor(process.stdout);
  const marks = { ok: p.green('ok     '), warning: p.yellow('warning'), error: p.red('error  ') };
  for (const finding of findings) {
    process.stdout.write(`${marks[finding.level]} ${finding.part}: ${finding.name}: ${finding.detail}\n`);
    if (finding.fix !== undefined) process.stdout.write(`          → ${finding.fix}\n`);
  }
}
