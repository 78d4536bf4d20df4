import { hash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readLines } from '../../../src/ledger/lines.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

test('lines longer than a block are hashed as they are, between others, and an unfinished one is left out', async () => {
  await using directory = await temporaryDirectory();
  const path = directory.join('0000000000000000.ndjson');
  const lines = ['a', 'b'.repeat((1 << 20) - 1), 'c'.repeat(1 << 20), 'd', 'ü🧨'.repeat(700_000), '{"v":1,"index":5}'];
  appendFileSync(path, `${lines.join('\n')}\n${'unfinished'.repeat(200_000)}`);
  const seen: string[] = [];
  let offset = 0;
  for (const block of readLines(path, 0, { digestLong: true })) {
    expect(block.offset).toBe(offset);
    offset += block.ends.at(-1)!;
    if (block.digest !== undefined) {
      expect([block.ends.length, block.bytes.length]).toEqual([1, 64]);
      seen.push(block.digest.toString('hex'));
      continue;
    }
    let start = 0;
    for (const end of block.ends) {
      seen.push(hash('sha256', block.bytes.subarray(start, end - 1), 'hex'));
      start = end;
    }
  }
  expect(seen).toEqual(lines.map((line) => hash('sha256', line, 'hex')));
  expect(offset).toBe(Buffer.byteLength(lines.join('\n')) + 1);
});
