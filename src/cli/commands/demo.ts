import { Command } from 'commander';
import type { DemoOptions } from '../../demo/demo.ts';
import { durationArgument } from '../signals.ts';

/** `changetrail demo`: real databases, a believable application and the real product, with nothing to set up. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('see it work: starts two databases, runs a small shop against them and shows its audit trail')
    .option('--for <duration>', 'stop after this time, for example 20s; default: until Ctrl-C', durationArgument)
    .option('--keep <dir>', 'keep the ledger in this directory')
    .addHelpText(
      'after',
      '\nExamples:\n  changetrail demo --for 20s\n  changetrail demo | jq -c "{actor, action, object}"',
    )
    .action(async (options: DemoOptions) => (await import('../../demo/demo.ts')).demo(options));
}
