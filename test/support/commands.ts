import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';

/** A user of the machine that servers run as. */
export interface ServerUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user that PostgreSQL runs as when this process is root, which PostgreSQL refuses to be: `postgres` where it exists, else `nobody`.
 * Undefined when this process is an ordinary user: servers then run as that one.
 */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const found = users.find((fields) => fields[0] === name);
    if (found) return { name, uid: Number(found[2]), gid: Number(found[3]) };
  }
  throw new Error(
    'this process is root, PostgreSQL must not be, and there is no user "postgres" or "nobody" to run it as',
  );
}

export interface RunOptions {
  readonly user?: ServerUser | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a program to its end and gives its standard output. @throws Error with the end of what it said. */
export function runCommand(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { user } = options;
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      {
        ...(user ? { uid: user.uid, gid: user.gid } : {}),
        ...(options.cwd ? { cwd: options.cwd } : {}),
        ...(options.env ? { env: options.env } : {}),
        maxBuffer: 16 << 20,
      },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        const said = lastLines(stderr || stdout || error.message);
        reject(new Error(`${command} failed: ${said}`, { cause: error }));
      },
    );
  });
}

/** The last lines of a program's output, as one line. */
export function lastLines(text: string, count = 6): string {
  return text.trim().split('\n').slice(-count).join(' | ');
}

/** The first program of that name on PATH, or undefined. */
export function onPath(name: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, name);
    if (directory !== '' && isExecutable(path)) return path;
  }
  return undefined;
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
