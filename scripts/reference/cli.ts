import type { Command } from 'commander';
import { createProgram } from '../../src/cli/main.ts';

export function cliReference(): string {
  const program = createProgram();
  const commands = [program, ...program.commands.filter((command) => command.name() !== 'help')];
  return `<!-- Generated from the commands by npm run generate. -->

# Command line

Records go to standard output, everything for people to standard error. Exit codes: 0 fine, 1 a finding, 2 wrong usage or configuration, 3 runtime failure.
In a checkout: \`npm run -s changetrail -- <command> …\`.

${commands.map(section).join('\n')}`;
}

function section(command: Command): string {
  const title = command.parent === null ? command.name() : `changetrail ${command.name()}`;
  command.configureHelp({ helpWidth: 120 });
  command.configureOutput({ getOutHasColors: () => false, getOutHelpWidth: () => 120 });
  let help = '';
  command.configureOutput({
    writeOut: (text) => {
      help += text;
    },
  });
  command.outputHelp();
  const nested = command.parent === null ? '' : command.commands.map(section).join('\n');
  return `## ${title}\n\n\`\`\`text\n${help.trim()}\n\`\`\`\n${nested}`;
}
