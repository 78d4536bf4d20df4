import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../../support/tmp.ts';

test('processes that want the same lock run one after the other', async () => {
  await using dir = await temporaryDirectory();
  const script = dir.join('script.ts');
  writeFileSync(
    script,
    `import { appendFileSync } from 'node:fs';
     import { setTimeout as sleep } from 'node:timers/promises';
     import { withCacheLock } from '${new URL('../../support/cache.ts', import.meta.url).href}';
     await withCacheLock('test', async () => {
       appendFileSync('${dir.join('out')}', 'in ');
       await sleep(30);
       appendFileSync('${dir.join('out')}', 'out ');
     });`,
  );
  const run = () =>
    promisify(execFile)(process.execPath, [script], { env: { ...process.env, CHANGETRAIL_CACHE: dir.path } });
  await Promise.all([run(), run(), run()]);
  expect(readFileSync(dir.join('out'), 'utf8')).toBe('in out in out in out ');
});
