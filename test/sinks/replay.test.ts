import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { countOlder, resolvePlace, takeDeadLetters } from '../../src/pipeline/delivery/replay.ts';
import { createHttpSink, httpOptions } from '../../src/sinks/http.ts';
import { HttpReceiver } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runCli } from '../support/run-cli.ts';
import { sampleRecord } from '../support/sink-ledger.ts';
import { runTrial, type SinkTrial } from '../support/sink-trial.ts';

/** A receiver that refuses records with outcome `unknown` until it is mended. */
async function startReceiver() {
  const ids: string[] = [];
  const state = { mended: false };
  const server = await HttpReceiver.start(({ body }) => {
    const records = JSON.parse(body.toString('utf8')) as { id: string; outcome: string }[];
    if (!state.mended && records.some((record) => record.outcome === 'unknown')) return { status: 422 };
    ids.push(...records.map((record) => record.id));
    return { status: 200 };
  });
  return { ids, state, server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const optionsOf = (port: number) => ({ type: 'http', url: `http://127.0.0.1:${port}/`, batch_wait_ms: 5 });
const sinkTo = (port: number) =>
  createHttpSink(httpOptions.parse(optionsOf(port)), { name: 'sink', log: memoryLog().log, now: Date.now });

/** The data directory's configuration with the one sink. */
function configure(trial: SinkTrial, port: number): string {
  const path = `${trial.ledger.ledger.layout.data}/changetrail.yaml`;
  writeFileSync(
    path,
    JSON.stringify({
      data: trial.ledger.ledger.layout.data,
      sources: { shop: { type: 'postgres', url: 'postgres://localhost/shop' } },
      sinks: { sink: optionsOf(port) },
    }),
  );
  return path;
}

describe('a place in the ledger', () => {
  test('is an index, a time or an id', async () => {
    await using trial = await runTrial();
    await trial.fill(100);
    const { reader } = trial.ledger.ledger;
    expect(await resolvePlace(reader, '42')).toBe(42);
    expect(await resolvePlace(reader, trial.ids[17]!)).toBe(17);
    const captured = String(sampleRecord(33, trial.prefix)['captured']);
    expect(await resolvePlace(reader, captured)).toBe(33);
    expect(await resolvePlace(reader, '2001-01-01')).toBe(0);
    expect(await resolvePlace(reader, '2101-01-01')).toBe(100);
    await expect(resolvePlace(reader, 'no:such:id')).rejects.toMatchObject({ code: 'AUD_CLI_USAGE' });
    expect(await countOlder(reader, 10, 90, Date.parse(captured))).toBe(23);
  });
});

describe('changetrail replay', () => {
  test('sends a range again while the ledger is held by another process, and leaves the cursor', async () => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    await trial.fill(200);
    await trial.deliver(sinkTo(receiver.server.port)).drain();
    const cursor = readFileSync(trial.ledger.cursorPath('sink'), 'utf8');
    receiver.ids.length = 0;
    const config = configure(trial, receiver.server.port);
    const run = await runCli(['replay', 'sink', '--config', config, '--from', '50', '--to', trial.ids[60]!, '--json']);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(run.stdout)).toEqual({ sink: 'sink', sent: 10, refused: 0, stoppedAt: null });
    expect(receiver.ids).toEqual(trial.ids.slice(50, 60));
    expect(readFileSync(trial.ledger.cursorPath('sink'), 'utf8')).toBe(cursor);
  });

  test('sends dead letters once the cause is mended, and removes them', async () => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    const records = Array.from({ length: 20 }, (_, i) => sampleRecord(i, trial.prefix));
    for (const at of [3, 11]) records[at] = { ...records[at]!, outcome: 'unknown' };
    await trial.write(records);
    await trial.deliver(sinkTo(receiver.server.port)).drain();
    const config = configure(trial, receiver.server.port);
    const path = trial.ledger.deadLetterPath('sink');

    const early = await runCli(['replay', 'sink', '--config', config, '--dead-letters']);
    expect(early, early.stderr).toMatchObject({ code: 1 });
    expect(readFileSync(path, 'utf8').trimEnd().split('\n')).toHaveLength(2);

    receiver.state.mended = true;
    const late = await runCli(['replay', 'sink', '--config', config, '--dead-letters']);
    expect(late, late.stderr).toMatchObject({ code: 0 });
    expect(existsSync(path)).toBe(false);
    expect(new Set(receiver.ids.filter((id) => id.startsWith(trial.prefix)))).toEqual(new Set(trial.ids));
  });

  test.each([
    [['replay', 'sink'], /--from PLACE or --dead-letters/],
    [['replay', 'other', '--from', '0'], /Known sinks: sink/],
    [['replay', 'sink', '--from', 'no:such:id'], /No record in the ledger has the id/],
  ])('refuses %j', async (args, message) => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    await trial.fill(1);
    const run = await runCli([...args, '--config', configure(trial, receiver.server.port)]);
    expect(run.code).toBe(2);
    expect(run.stderr).toMatch(message);
  });
});

test('dead letters written while they are sent are not removed, and an interrupted replay is taken up', async () => {
  await using trial = await runTrial();
  await trial.fill(5);
  const path = trial.ledger.deadLetterPath('sink');
  const { reader, layout } = trial.ledger.ledger;
  const letter = (index: number) =>
    `${JSON.stringify({ at: 'now', index, reason: 'r', record: { id: `x${index}` } })}\n`;
  mkdirSync(layout.deadLetters, { recursive: true });
  writeFileSync(path, letter(3) + letter(1) + letter(99));
  const first = takeDeadLetters(path, reader)!;
  expect(first.indexes).toEqual([1, 3, 99]);
  const seen: string[] = [];
  for await (const batch of first.reader.read({ index: 0 })) seen.push(JSON.parse(batch.bytes.toString()).id);
  // The ledger's own record where it has it, the letter's copy where not.
  expect(seen).toEqual([trial.ids[1], trial.ids[3], 'x99']);
  appendFileSync(path.replace('.ndjson', '.replaying.ndjson'), letter(2));
  expect(first.finish()).toBe(false);
  const again = takeDeadLetters(path, reader)!;
  expect(again.indexes).toEqual([1, 2, 3, 99]);
  expect(again.finish()).toBe(true);
  expect(takeDeadLetters(path, reader)).toBeNull();
});
