import { execFile } from 'node:child_process';
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/tmp.ts';

test('each entry of changetrail/context loads with nothing but Node, and does nothing by being loaded', async () => {
  await using directory = await temporaryDirectory();
  // A folder without the rest of the project and without any package.
  cpSync(join(import.meta.dirname, '../../src/context'), join(directory.path, 'context'), { recursive: true });
  writeFileSync(join(directory.path, 'package.json'), '{"type":"module"}');
  const files = readdirSync(join(directory.path, 'context'));
  expect(files.length).toBeGreaterThan(20);
  const script = `for (const file of ${JSON.stringify(files)}) await import('./context/' + file);
    const { withActor, currentActor } = await import('./context/index.ts');
    console.log(withActor({ id: 'alice' }, () => currentActor().id), process.getActiveResourcesInfo().includes('Timeout'));`;
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: directory.path });
  expect(stdout).toBe('alice false\n');
});
