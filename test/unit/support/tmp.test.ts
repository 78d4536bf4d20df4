import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../../support/tmp.ts';

test('a temporary directory is gone with what is in it when it leaves its scope', async () => {
  let path: string;
  {
    await using dir = await temporaryDirectory();
    path = dir.path;
    writeFileSync(dir.join('file'), 'text');
    expect(existsSync(dir.join('file'))).toBe(true);
  }
  expect(existsSync(path)).toBe(false);
});

test('two temporary directories are two', async () => {
  await using one = await temporaryDirectory();
  await using other = await temporaryDirectory();
  expect(one.path).not.toBe(other.path);
});
