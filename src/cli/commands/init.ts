import { Command } from 'commander';

/** A configuration to start from, with every line explained. Parsed by a test. */
export const EXAMPLE_CONFIGURATION = `# changetrail.yaml: every key is explained in docs/reference/configuration.md

# Where the ledger, positions and cursors live. Back it up; give it a disk of its own if you can.
data: ./changetrail-data

sources:
  shop:
    type: postgres
    # From the environment, so that no password stands in this file. \${file:/run/secrets/url} reads a file.
    url: \${SHOP_DATABASE_URL}
    # The last pattern that fits decides.
    tables: ["public.*", "!public.sessions"]
    # auto: \`run\` creates the publication and the slot. manual: it prints the SQL and waits for you.
    setup: auto

sinks:
  out:
    type: stdout
`;

/** `changetrail init`: prints a configuration to start from. */
export function initCommand(): Command {
  return new Command('init')
    .description('print a configuration to start from')
    .addHelpText('after', '\nExample:\n  changetrail init > changetrail.yaml')
    .action(() => {
      process.stdout.write(EXAMPLE_CONFIGURATION);
    });
}
