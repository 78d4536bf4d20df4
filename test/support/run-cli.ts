import { type ChildProcess, spawn } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs `changetrail` with the arguments in a process of its own and waits for its end. `meanwhile` is given the process, and
 * what it has said on standard error so far.
 */
export function runCli(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  meanwhile: (child: ChildProcess, said: () => string) => Promise<void> = async () => undefined,
): Promise<CliRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (bytes: Buffer) => {
      stdout += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString();
    });
    child.on('error', reject);
    meanwhile(child, () => stderr).catch(reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
