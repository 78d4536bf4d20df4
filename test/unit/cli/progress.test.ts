import { expect, test } from 'vitest';
import { showProgress } from '../../../src/cli/progress.ts';

function shown(isTTY: boolean, at: readonly number[]): string[] {
  const written: string[] = [];
  let now = 1_000;
  const progress = showProgress('verified', { isTTY, write: (text: string) => written.push(text) }, () => now);
  for (const after of at) {
    now = 1_000 + after;
    progress.update(after, 40_000);
  }
  progress.clear();
  return written;
}

test('on a terminal a bar is drawn over and over in one line, not too often, and taken away', () => {
  const written = shown(true, [10, 50, 10_000, 10_040, 30_000]);
  expect(written).toEqual([
    `\r\u001b[2K${'░'.repeat(30)} verified 0 %, 40 s left`,
    `\r\u001b[2K${'█'.repeat(7)}${'░'.repeat(23)} verified 25 %, 30 s left`,
    `\r\u001b[2K${'█'.repeat(22)}${'░'.repeat(8)} verified 75 %, 10 s left`,
    '\r\u001b[2K',
  ]);
});

test('elsewhere a line is written every ten seconds, and none for what is done before', () => {
  expect(shown(false, [10, 5_000, 10_000, 12_000, 30_000])).toEqual([
    'verified 25 %, 30 s left\n',
    'verified 75 %, 10 s left\n',
  ]);
  expect(shown(false, [10, 5_000])).toEqual([]);
});
