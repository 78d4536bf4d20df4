import { Command } from 'commander';
import { ActorMetrics } from '../../actor/metrics.ts';
import { createActorStage } from '../../actor/stage.ts';
import type { Configuration } from '../../config/load.ts';
import type { CheckItem, Connector, SourceHost } from '../../core/connector.ts';
import type { Logger } from '../../telemetry/log.ts';
import { configOption, configured } from '../configured.ts';
import { paletteFor } from '../pretty.ts';
import { SINKS, SOURCES } from '../registry.ts';

interface Finding extends CheckItem {
  readonly part: string;
}

/** `changetrail doctor`: looks at every source and sink and changes nothing in them. Exit 1 when something is wrong. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look at every source and sink, and say what would keep them from working')
    .addOption(configOption())
    .option('--json', 'the findings as JSON')
    .addHelpText(
      'after',
      '\nExit code 1 when there is an error among the findings.\n\nExample:\n  changetrail doctor --config /etc/changetrail.yaml',
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
    const connector = await SOURCES[options.type]!.create(options, lookingHost(name, configuration, log));
    findings.push(...(await reported(`source ${name}`, connector)));
  }
  return findings;
}

async function checkSinks(configuration: Configuration, log: Logger): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, options] of Object.entries(configuration.sinks)) {
    const sink = await SINKS[options.type]!.create(options, { name, log: log.child({ sink: name }), now: Date.now });
    findings.push(...(await reported(`sink ${name}`, sink)));
  }
  return findings;
}

async function reported(part: string, component: Pick<Connector, 'check' | 'close'>): Promise<Finding[]> {
  try {
    const { items } = await component.check(AbortSignal.timeout(30_000));
    return items.map((item) => ({ part, ...item }));
  } finally {
    await component.close();
  }
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
