#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { initCommand } from './commands/init.ts';
import { keysCommand } from './commands/keys.ts';
import { proveCommand } from './commands/prove.ts';
import { recoverCommand } from './commands/recover.ts';
import { replayCommand } from './commands/replay.ts';
import { runCommand } from './commands/run.ts';
import { setupCommand } from './commands/setup.ts';
import { statusCommand } from './commands/status.ts';
import { tailCommand } from './commands/tail.ts';
import { verifyCommand } from './commands/verify.ts';
import { reportFailure } from './report.ts';

/** The whole command line. Exit codes: 0 fine, 1 a finding, 2 wrong usage or configuration, 3 runtime failure. */
export function createProgram(): Command {
  const program = new Command('changetrail')
    .description(
      'A tamper-evident audit trail of PostgreSQL and MongoDB: who, what, when, outcome, with before and after.',
    )
    .version(VERSION)
    .showHelpAfterError('(changetrail --help lists the commands)')
    .addHelpText(
      'after',
      `
Records go to standard output, everything for people to standard error.

Examples:
  changetrail demo                        see it work, with nothing installed
  changetrail init > changetrail.yaml     a configuration to start from
  changetrail doctor                      is the source ready, and what would have to change
  changetrail run                         capture until Ctrl-C
  changetrail tail -f                     read along
  changetrail verify ./changetrail-data   has anything been changed since`,
    );
  const commands = [
    initCommand(),
    doctorCommand(),
    setupCommand(),
    runCommand(),
    tailCommand(),
    statusCommand(),
    replayCommand(),
    verifyCommand(),
    proveCommand(),
    keysCommand(),
    recoverCommand(),
    demoCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...program.commands]) command.exitOverride();
  return program;
}

/** Runs one command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync([...argv]);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return reportFailure(error);
  }
}

/** A failed command has said why; a connection that does not close must not keep it from ending (and from being restarted). */
const LEAVE_MS = 5_000;

if (import.meta.main) {
  const code = await main(process.argv);
  process.exitCode = code;
  if (code >= 2) setTimeout(() => process.exit(code), LEAVE_MS).unref();
}
