import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { ControlRecord } from '../../../src/core/output.ts';
import { openLedger } from '../../../src/ledger/ledger.ts';
import { positionFiles } from '../../../src/pipeline/positions.ts';
import { PipelineOutput } from '../../../src/pipeline/source-output.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

const failed = (error: unknown) => {
  throw error;
};

function opened(data: string, groupMs: number) {
  const ledger = openLedger(data, { groupMs });
  const files = positionFiles(ledger.layout.positions, 'shop');
  const output = new PipelineOutput({
    writer: ledger.writer,
    files,
    origin: { name: 'shop', engine: 'postgres' },
    about: {},
    now: Date.now,
  });
  return { ledger, files, output };
}

const DROPPED: ControlRecord = { kind: 'schema', action: 'drop', object: { schema: 'public', table: 't' } };

test('what a state tells is not kept before its record is durable: a kill in between would lose the record', async () => {
  await using directory = await temporaryDirectory();
  const { ledger, files, output } = opened(directory.join('data'), 60_000);
  const confirmed: string[] = [];
  try {
    output.attach((position, saved) => {
      if (saved) confirmed.push(position);
    }, failed);
    // Everything before is durable, so this position is saved at once.
    output.idle('0/10');
    expect(confirmed).toEqual(['0/10']);
    output.idle('0/20');
    output.control(DROPPED);
    output.remember({ tables: [] });
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(ledger.writer.durable.next).toBe(0);
    expect(existsSync(files.state)).toBe(false);
    expect(confirmed).toEqual(['0/10']);
    await output.settled();
    expect(JSON.parse(readFileSync(files.state, 'utf8'))).toEqual({ tables: [] });
    expect(confirmed).toEqual(['0/10', '0/20']);
  } finally {
    output.close();
    await ledger.close();
  }
});

test('a save that waited for the records of its state is made when they are durable', async () => {
  await using directory = await temporaryDirectory();
  const { ledger, files, output } = opened(directory.join('data'), 2_000);
  try {
    const saved = new Promise<string>((resolve) => {
      output.attach((position) => {
        if (position === '0/20') resolve(position);
      }, failed);
    });
    output.idle('0/10');
    output.idle('0/20');
    output.control(DROPPED);
    output.remember({ tables: ['t'] });
    await saved;
    expect(ledger.writer.durable.next).toBe(1);
    expect(JSON.parse(readFileSync(files.state, 'utf8'))).toEqual({ tables: ['t'] });
  } finally {
    output.close();
    await ledger.close();
  }
});
