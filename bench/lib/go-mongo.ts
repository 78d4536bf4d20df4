import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The command of the raw Go reader, built on first use; a reason as text where that fails. */
export function goReaderCommand(): readonly string[] | string {
  const home = join(process.env['CHANGETRAIL_CACHE'] ?? join(here, '..', '.cache'), 'go-mongo');
  const program = join(home, 'reader');
  try {
    if (!existsSync(program)) {
      mkdirSync(home, { recursive: true });
      cpSync(join(here, 'peers', 'go-mongo'), home, { recursive: true });
      execFileSync('go', ['build', '-mod=mod', '-o', program, '.'], { cwd: home, stdio: 'ignore' });
    }
  } catch (error) {
    return `The raw Go reader could not be built here (${(error as Error).message.split('\n')[0]}).`;
  }
  return [program];
}
