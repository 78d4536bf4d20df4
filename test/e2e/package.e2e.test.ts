// What is published, put together and started as a user does it: the other tests run the files of the checkout.
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { runCommand } from '../support/commands.ts';
import { postgresMajors, postgresMissing, providePostgres } from '../support/provide.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { runCommandLine, TrailProcess, writeConfig } from './support/trail-process.ts';

const root = join(import.meta.dirname, '../..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  bin: { changetrail: string };
  exports: Record<string, string | Record<string, string>>;
};

/** The package as it lies in an application's node_modules, built into `home`. */
async function installed(home: string): Promise<string> {
  const node = (...args: string[]) => runCommand(process.execPath, args, { cwd: root });
  await node('scripts/bundle.ts', 'dist', join(home, 'dist/cli'));
  await node('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', join(home, 'dist'));
  cpSync(join(root, 'package.json'), join(home, 'package.json'));
  mkdirSync(join(home, 'schema'));
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'));
  return join(home, manifest.bin.changetrail);
}

const major = postgresMajors().at(-1)!;
const skip = await postgresMissing(major);

test.skipIf(skip)(
  'the package as it is published captures, delivers, verifies, and is imported',
  { timeout: 180_000 },
  async () => {
    await using directory = await temporaryDirectory();
    const home = directory.join('changetrail');
    mkdirSync(home);
    const main = await installed(home);

    expect((await runCommandLine(['--version'], { main })).stdout).toBe(`${manifest.version}\n`);

    const server = await providePostgres({ major });
    await using database = await server.createDatabase();
    await database.query('create table t (id int primary key, v text)');
    const [data, output] = [directory.join('data'), directory.join('out.ndjson')];
    // A sink is a thread, and CEL a library that is loaded only for this.
    const out = { type: 'file', path: output, filter: { when: 'record.kind == "change"' } };
    const config = writeConfig(directory.path, { url: database.url, rest: { sinks: { out } } });
    {
      await using trail = TrailProcess.launch(['run', '--config', config], { main });
      await trail.streaming();
      await database.query('insert into t select g from generate_series(1, 300) g');
      await until(() => existsSync(output) && readFileSync(output, 'utf8').split('\n').length > 300, {
        what: `the records in the file; ${trail.stderr.slice(-3000)}`,
      });
      expect(await trail.stop(), trail.stderr).toMatchObject({ code: 0 });
    }
    const verified = await runCommandLine(['verify', data, '--json'], { main });
    expect(verified.exit, verified.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(verified.stdout)).toMatchObject({ verdict: 'verified' });

    const { withActor, currentActor } = await import(pathToFileURL(join(home, 'dist/context/index.js')).href);
    expect(withActor({ id: 'alice' }, () => currentActor().id)).toBe('alice');
    for (const [name, target] of Object.entries(manifest.exports)) {
      for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
        if (!path.includes('*') && path !== './package.json')
          expect(existsSync(join(home, path)), `${name}: ${path}`).toBe(true);
      }
    }
    // The texts of licences go with what was taken in.
    const notices = readFileSync(join(home, 'dist/cli/THIRD-PARTY-NOTICES.txt'), 'utf8');
    for (const name of ['commander', 'pino', 'yaml', 'zod']) expect(notices).toMatch(new RegExp(`^${name} \\d`, 'm'));
  },
);
