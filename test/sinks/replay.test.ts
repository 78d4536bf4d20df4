import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { goOn, type ReplayOptions } from '../../src/cli/commands/replay.ts';
import { countDeadLetters, deadLetterBox } from '../../src/pipeline/delivery/dead-letters.ts';
import { sinkMetrics } from '../../src/pipeline/delivery/metrics.ts';
import { countOlder, resolvePlace, takeDeadLetters } from '../../src/pipeline/delivery/replay.ts';
import { createHttpSink, httpOptions } from '../../src/sinks/http.ts';
import { HttpReceiver } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runCli } from '../support/run-cli.ts';
import { sampleRecord } from '../support/sink-ledger.ts';
import { runTrial, type SinkTrial } from '../support/sink-trial.ts';
import { temporaryDirectory } from '../support/tmp.ts';

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
function configure(trial: SinkTrial, sink: object): string {
  const path = `${trial.ledger.ledger.layout.data}/changetrail.yaml`;
  writeFileSync(
    path,
    JSON.stringify({
      data: trial.ledger.ledger.layout.data,
      sources: { shop: { type: 'postgres', url: 'postgres://localhost/shop' } },
      sinks: { sink },
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
    // Without a zone a time is UTC, wherever this machine stands.
    expect(await resolvePlace(reader, captured.replace('Z', ''))).toBe(33);
    expect(await resolvePlace(reader, captured.replace('T', ' ').replace('Z', ''))).toBe(33);
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
    const config = configure(trial, optionsOf(receiver.server.port));
    const run = await runCli(['replay', 'sink', '--config', config, '--from', '50', '--to', trial.ids[60]!, '--json']);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(run.stdout)).toEqual({ sink: 'sink', sent: 10, refused: 0, filtered: 0, stoppedAt: null });
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
    const config = configure(trial, optionsOf(receiver.server.port));
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

  test('takes times as places, and the sink’s filter and values as they are configured', async () => {
    const bodies: Record<string, unknown>[] = [];
    await using server = await HttpReceiver.start(({ body }) => {
      bodies.push(...(JSON.parse(body.toString('utf8')) as Record<string, unknown>[]));
      return { status: 200 };
    });
    await using trial = await runTrial();
    await trial.fill(90);
    const options = { filter: { actions: ['update'] }, values: 'none' };
    const config = configure(trial, { ...optionsOf(server.port), ...options });
    const [from, to] = [sampleRecord(30, trial.prefix)['captured'], sampleRecord(60, trial.prefix)['captured']];
    const run = await runCli([
      'replay',
      'sink',
      '--config',
      config,
      '--from',
      String(from),
      '--to',
      String(to),
      '--json',
    ]);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    const updates = trial.ids.filter((_, n) => n >= 30 && n < 60 && n % 3 === 1);
    expect(bodies.map(({ id }) => id)).toEqual(updates);
    for (const record of bodies) {
      expect(record).not.toHaveProperty('after');
      expect(record['missing']).toMatchObject({ before: 'values_not_sent', after: 'values_not_sent' });
    }
    expect(JSON.parse(run.stdout)).toMatchObject({ sent: updates.length, refused: 0, filtered: 30 - updates.length });
    expect(run.stderr).toMatch(/20 left out by the sink’s filter/);
  });

  test('tells before anything is sent that records are too old for the receiver, and sends them with --accept-old', async () => {
    const entries: { timestamp?: number; message: string }[] = [];
    await using server = await HttpReceiver.start(({ body }) => {
      entries.push(...JSON.parse(body.toString('utf8')));
      return { status: 202 };
    });
    await using trial = await runTrial();
    const day = new Date(Date.now() - 86_400_000).toISOString();
    await trial.write([0, 1, 2].map((n) => ({ ...sampleRecord(n, trial.prefix), ...(n < 2 ? { time: day } : {}) })));
    const config = configure(trial, { type: 'datadog', api_key: 'k', url: `http://127.0.0.1:${server.port}` });
    const refused = await runCli(['replay', 'sink', '--config', config, '--from', '0']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/2 of these records are older than the 18 hours/);
    expect(refused.stderr).toMatch(/--accept-old .*begin later/);
    expect(entries).toEqual([]);
    // Later records alone need no leave.
    expect(await runCli(['replay', 'sink', '--config', config, '--from', '2'])).toMatchObject({ code: 0 });
    const run = await runCli(['replay', 'sink', '--config', config, '--from', '0', '--to', '2', '--accept-old']);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    expect(entries.map(({ message }) => JSON.parse(message).id)).toEqual([2, 0, 1].map((n) => trial.ids[n]));
    expect(entries.map(({ timestamp }) => timestamp !== undefined)).toEqual([true, false, false]);
  });

  test('tells of dead letters that are too old for the receiver too, and keeps them', async () => {
    await using server = await HttpReceiver.start(() => ({ status: 202 }));
    await using trial = await runTrial();
    await trial.write([{ ...sampleRecord(0, trial.prefix), time: new Date(Date.now() - 86_400_000).toISOString() }]);
    const path = trial.ledger.deadLetterPath('sink');
    mkdirSync(trial.ledger.ledger.layout.deadLetters, { recursive: true });
    writeFileSync(path, `${JSON.stringify({ at: 'now', index: 0, reason: 'r', record: { id: trial.ids[0] } })}\n`);
    const config = configure(trial, { type: 'datadog', api_key: 'k', url: `http://127.0.0.1:${server.port}` });
    const refused = await runCli(['replay', 'sink', '--config', config, '--dead-letters']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/1 of these records are older than the 18 hours/);
    expect(refused.stderr).toMatch(/--accept-old/);
    expect(refused.stderr).not.toMatch(/begin later/);
    const run = await runCli(['replay', 'sink', '--config', config, '--dead-letters', '--accept-old', '--json']);
    expect(run, run.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(run.stdout)).toMatchObject({ sent: 1 });
  });

  test('says so when there is nothing to send', async () => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    await trial.fill(5);
    const config = configure(trial, optionsOf(receiver.server.port));
    for (const place of ['99', '2101-01-01']) {
      const run = await runCli(['replay', 'sink', '--config', config, '--from', place]);
      expect(run, run.stderr).toMatchObject({ code: 0 });
      expect(run.stderr).toMatch(/nothing between --from and --to: the ledger holds the records 0 to 4/);
    }
    const letters = await runCli(['replay', 'sink', '--config', config, '--dead-letters']);
    expect(letters.stderr).toMatch(/there are no dead letters/);
    expect(receiver.ids).toEqual([]);
  });

  test('stopped in the middle, says how to go on, and does not pass for done', async () => {
    await using server = await HttpReceiver.start(() => ({ status: 503 }));
    await using trial = await runTrial();
    await trial.fill(5);
    const config = configure(trial, optionsOf(server.port));
    const run = await runCli(
      ['replay', 'sink', '--config', config, '--from', '1', '--to', '4'],
      {},
      async (child, said) => {
        await trial.until(() => said().includes('takes no records'), 'a first try');
        child.kill('SIGTERM');
      },
    );
    expect(run, run.stderr).toMatchObject({ code: 1 });
    expect(run.stderr).toContain(`go on with: changetrail replay sink --config ${config} --from 1 --to 4\n`);
  });

  test.each<[ReplayOptions, string]>([
    [{ config: './changetrail.yaml', from: '0' }, '--from 7'],
    [
      { config: 'my conf.yaml', from: '0', to: '2026-11-24 12:00' },
      "--config 'my conf.yaml' --from 7 --to '2026-11-24 12:00'",
    ],
    [{ config: "it's", deadLetters: true, acceptOld: true }, "--config 'it'\\''s' --dead-letters --accept-old"],
  ])('stopped with %j, goes on with %s', (options, words) => {
    expect(goOn(options, 7)).toBe(words);
  });

  test.each([
    [['replay', 'sink'], /--from PLACE or --dead-letters/],
    [['replay', 'other', '--from', '0'], /Known sinks: sink/],
    [['replay', 'sink', '--from', 'no:such:id'], /No record in the ledger has the id/],
  ])('refuses %j', async (args, message) => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    await trial.fill(1);
    const run = await runCli([...args, '--config', configure(trial, optionsOf(receiver.server.port))]);
    expect(run.code).toBe(2);
    expect(run.stderr).toMatch(message);
  });
});

describe('changetrail status', () => {
  test('shows for each sink its cursor, what lies behind it in records and seconds, and the last error', async () => {
    await using receiver = await startReceiver();
    await using trial = await runTrial();
    await trial.fill(10);
    await trial.deliver(sinkTo(receiver.server.port)).drain();
    // Another one has delivered nothing, and says why.
    const down = trial.deliver(sinkTo(1), {}, 'down');
    await trial.until(() => down.status().lastError !== null, 'a first try');
    down.abort();
    await down.done;
    const { data } = trial.ledger.ledger.layout;
    const running = { at: new Date().toISOString(), pid: process.pid, ledger: { next: 10, failure: null } };
    const write = (more: object) =>
      writeFileSync(`${data}/status.json`, JSON.stringify({ ...running, sources: {}, actors: {}, ...more }));
    write({});
    const since = Date.parse(String(sampleRecord(0, trial.prefix)['captured']));

    const json = await runCli(['status', '--data', data, '--json']);
    expect(json, json.stderr).toMatchObject({ code: 0 });
    const { sinks } = JSON.parse(json.stdout);
    expect(sinks.sink).toMatchObject({ index: 10, lagRecords: 0, lagSeconds: 0 });
    expect(sinks.down).toMatchObject({ index: 0, lagRecords: 10, status: { lastError: 'ECONNREFUSED' } });
    expect(sinks.down.lagSeconds).toBeGreaterThan(0);
    expect(sinks.down.lagSeconds).toBeLessThanOrEqual((Date.now() - since) / 1000 + 0.1);

    const text = await runCli(['status', '--data', data]);
    expect(text.stdout).toMatch(/sink +sink +stopped, at 10, nothing behind/);
    expect(text.stdout).toMatch(
      /sink +down +\S+, at 0, 10 records \([\d.]+ s\) behind\n +last error, 20\S+Z: ECONNREFUSED/,
    );

    // A sink that could not start wrote no cursor: the process says it. One that nobody configures any more is told apart.
    const failed = { ...sinkMetrics(), name: 'sink', cursor: 10, lagRecords: 0, lagMs: 0, state: 'failed' };
    const error = { lastError: 'The file of tls.ca cannot be read.', lastErrorAt: '2026-11-24T10:00:00.000Z' };
    write({ sinks: { sink: failed, other: { ...failed, ...error, cursor: 0 } } });
    mkdirSync(trial.ledger.ledger.layout.deadLetters, { recursive: true });
    writeFileSync(trial.ledger.deadLetterPath('sink'), '{}\n{}\n');
    const later = await runCli(['status', '--data', data]);
    expect(later.stdout).toMatch(
      /sink +sink +failed, .*\n +2 refused records wait for: changetrail replay sink --dead-letters/,
    );
    expect(later.stdout).toMatch(
      /sink +other +failed, at 0, 10 records .*\n +last error, 2026\S+Z: The file of tls.ca/,
    );
    expect(later.stdout).toMatch(/sink +down +not in the configuration, at 0/);

    // A start that failed early made no delivery: what is configured is said by itself.
    write({ sinks: {}, configuredSinks: ['sink'] });
    const early = await runCli(['status', '--data', data]);
    expect(early.stdout).toMatch(/sink +sink +(stopped|running)/);
    expect(early.stdout).toMatch(/sink +down +not in the configuration/);

    // A process that was killed said "running" as its last word.
    write({ pid: 2 ** 22 + 1, sinks: { sink: { ...failed, state: 'running' } } });
    expect((await runCli(['status', '--data', data])).stdout).toMatch(/sink +sink +stopped, at 10/);
  });
});

test('waiting dead letters are counted in files of any size, with those that a replay took', async () => {
  await using dir = await temporaryDirectory();
  const path = dir.join('sink.ndjson');
  expect(countDeadLetters(path)).toBe(0);
  const line = `${'x'.repeat(999)}\n`;
  writeFileSync(path, line.repeat(1000));
  writeFileSync(dir.join('sink.replaying.ndjson'), line.repeat(7));
  expect(countDeadLetters(path)).toBe(1007);
});

test('a torn line of the dead letters costs no letter behind it', async () => {
  await using trial = await runTrial();
  await trial.fill(5);
  const path = trial.ledger.deadLetterPath('sink');
  mkdirSync(trial.ledger.ledger.layout.deadLetters, { recursive: true });
  // A crash in the middle of a write; the record is refused once more after the restart.
  writeFileSync(path, '{"at":"now","index":1,"reason":"r","record":{"id":"x1","after":{"bi');
  const metrics = sinkMetrics();
  const plan = { name: 'sink', deadLetterPath: path, log: memoryLog().log, metrics, control: () => undefined };
  const box = deadLetterBox(plan);
  box([1, 2].map((index) => ({ index, reason: 'r', line: Buffer.from(`{"id":"x${index}"}\n`) })));
  const taken = takeDeadLetters(path, trial.ledger.ledger.reader)!;
  expect(taken).toMatchObject({ indexes: [1, 2], damaged: 1 });
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
