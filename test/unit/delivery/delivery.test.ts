import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Delivery } from '../../../src/core/sink.ts';
import { readCursor } from '../../../src/pipeline/delivery/cursor-file.ts';
import { ScriptedSink } from '../../support/scripted-sink.ts';
import { sampleRecord } from '../../support/sink-ledger.ts';
import { runTrial, type SinkTrial } from '../../support/sink-trial.ts';

const ACCEPTED: Delivery = { outcome: 'accepted' };

describe('batches', () => {
  test('hold as many records and bytes as the receiver takes and the options say', async () => {
    await using trial = await runTrial();
    await trial.fill(250);
    const sink = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(sink).drain();
    expect(sink.calls.map((ids) => ids.length)).toEqual([100, 100, 50]);
    const small = new ScriptedSink(() => ACCEPTED, { maxBatchBytes: 2000 });
    await trial.deliver(small, {}, 'small').drain();
    expect(small.calls.length).toBeGreaterThan(60);
    const chosen = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(chosen, { batch_records: 7 }, 'chosen').drain();
    expect(Math.max(...chosen.calls.map((ids) => ids.length))).toBe(7);
    expect(chosen.taken).toEqual(trial.ids);
  });

  test('wait for more records as long as told, and no longer at a drain', async () => {
    await using trial = await runTrial();
    await trial.fill(1);
    const sink = new ScriptedSink(() => ACCEPTED, { maxAgeMs: 600_000 });
    const delivery = trial.deliver(sink);
    await sleep(50);
    await trial.fill(1);
    await sleep(50);
    expect(sink.calls).toEqual([]);
    await delivery.drain();
    expect(sink.calls).toEqual([trial.ids]);
  });
});

describe('answers', () => {
  test('a named time is waited for', async () => {
    await using trial = await runTrial();
    await trial.fill(1);
    const times: number[] = [];
    const sink = new ScriptedSink((_ids, call) => {
      times.push(performance.now());
      return call === 0 ? { outcome: 'throttled', afterMs: 300 } : ACCEPTED;
    });
    await trial.deliver(sink).drain();
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(295);
  });

  test('of a partial failure only what can be taken is sent again, in order', async () => {
    await using trial = await runTrial();
    await trial.fill(10);
    const sink = new ScriptedSink((_ids, call) =>
      call > 0
        ? ACCEPTED
        : {
            outcome: 'partial',
            failed: [
              { at: 7, retry: true, reason: 'busy' },
              { at: 2, retry: true, reason: 'busy' },
              { at: 5, retry: false, reason: 'bad' },
            ],
          },
    );
    await trial.deliver(sink).drain();
    expect(sink.calls[1]).toEqual([trial.ids[2], trial.ids[7]]);
    expect(trial.metrics).toMatchObject({ deadLetters: 1, retries: 1 });
    const letters = readFileSync(trial.ledger.deadLetterPath('sink'), 'utf8').trimEnd().split('\n');
    expect(letters.map((line) => JSON.parse(line))).toMatchObject([
      { index: 5, reason: 'bad', record: { id: trial.ids[5] } },
    ]);
  });

  test('a batch refused as a whole is halved until the bad records are alone', async () => {
    await using trial = await runTrial();
    await trial.fill(64);
    const bad = new Set([trial.ids[13], trial.ids[14], trial.ids[50]]);
    const sink = new ScriptedSink((ids) =>
      ids.some((id) => bad.has(id)) ? { outcome: 'rejected', reason: 'http_400' } : ACCEPTED,
    );
    await trial.deliver(sink).drain();
    const good = trial.ids.filter((id) => !bad.has(id));
    expect(sink.taken.filter((id) => id.startsWith(trial.prefix))).toEqual(good);
    expect(trial.metrics.deadLetters).toBe(3);
  });

  test('a batch that is too large is halved, a single record made smaller', async () => {
    await using trial = await runTrial();
    await trial.write(Array.from({ length: 8 }, (_, i) => sampleRecord(i, trial.prefix)));
    await trial.write([{ ...sampleRecord(8, trial.prefix), after: { bio: 'x'.repeat(100_000) } }]);
    const sizes: number[] = [];
    const sink = new ScriptedSink((ids) => {
      sizes.push(ids.length);
      return ids.length > 2 ? { outcome: 'too_large' } : ACCEPTED;
    });
    await trial.deliver(sink).drain();
    expect(sink.taken).toEqual(trial.ids);

    let largest = Number.POSITIVE_INFINITY;
    const strict = new ScriptedSink(() => ACCEPTED);
    const deliver = strict.deliver.bind(strict);
    strict.deliver = async (batch, signal) => {
      if (batch.bytes.length > 5000) return { outcome: 'too_large' };
      largest = batch.bytes.length;
      return deliver(batch, signal);
    };
    await trial.deliver(strict, {}, 'strict').drain();
    expect(strict.taken).toEqual(trial.ids);
    expect(largest).toBeLessThanOrEqual(5000);
    expect(trial.metrics.deadLetters).toBe(0);
  });

  test.each([
    ['throttles', () => ({ outcome: 'throttled', afterMs: null }) as const],
    ['gives no answer', () => ({ outcome: 'unavailable', reason: 'no answer within 30000 ms' }) as const],
    [
      'refuses each record for load',
      (ids: readonly string[]) => ({
        outcome: 'partial' as const,
        failed: ids.map((_, at) => ({ at, retry: true, reason: '429 rejected' })),
      }),
    ],
  ])('a receiver that %s for as long as a request is large is sent smaller ones', async (_what, answer) => {
    await using trial = await runTrial();
    await trial.fill(300);
    let room = 7;
    const sink = new ScriptedSink((ids) => (ids.length > room ? answer(ids) : ACCEPTED));
    const delivery = trial.deliver(sink, { retry_max_ms: 1 });
    await trial.until(() => delivery.status().cursor === 300, 'all to be taken');
    // With room again, requests grow back to what the options say.
    room = 1000;
    await trial.fill(3000);
    await delivery.drain();
    expect(sink.taken).toEqual(trial.ids);
    expect(Math.max(...sink.calls.slice(-20).map((ids) => ids.length))).toBe(100);
    expect(trial.metrics.deadLetters).toBe(0);
  });

  test('a single record that nobody answers for is tried as it is', async () => {
    await using trial = await runTrial();
    await trial.fill(1);
    const sink = new ScriptedSink((_ids, call) =>
      call < 12 ? { outcome: 'unavailable', reason: 'ECONNREFUSED' } : ACCEPTED,
    );
    await trial.deliver(sink, { retry_max_ms: 1 }).drain();
    expect(sink.taken).toEqual(trial.ids);
    expect(trial.metrics).toMatchObject({ reduced: 0, retries: 12 });
  });

  test('a receiver that is gone for good ends the delivery, its cursor stays', async () => {
    await using trial = await runTrial();
    await trial.fill(150);
    const sink = new ScriptedSink((_ids, call) => (call === 0 ? ACCEPTED : { outcome: 'closed', reason: 'gone' }));
    await expect(trial.deliver(sink).done).rejects.toMatchObject({ code: 'AUD_SINK_CLOSED' });
    expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(100);
    expect(sink.closed).toBe(1);
  });

  test('a defect of the sink stops it, and its cursor stays', async () => {
    await using trial = await runTrial();
    await trial.fill(5);
    const sink = new ScriptedSink(() => {
      throw new TypeError('undefined is not a function');
    });
    await expect(trial.deliver(sink).done).rejects.toMatchObject({ code: 'AUD_SINK_FAILED' });
    expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(0);
    expect(trial.metrics.state).toBe('failed');
  });
});

describe('the cursor', () => {
  test('passes only what arrived with everything before it', async () => {
    await using trial = await runTrial();
    await trial.fill(400);
    const first = Promise.withResolvers<Delivery>();
    const sink = new ScriptedSink((_ids, call) => (call === 0 ? first.promise : ACCEPTED), { maxInFlight: 4 });
    const delivery = trial.deliver(sink);
    await trial.until(() => sink.taken.length === 300, 'the later batches');
    expect(delivery.status()).toMatchObject({ cursor: 0, lagRecords: 400 });
    expect(delivery.status().lagMs).toBeGreaterThan(0);
    first.resolve(ACCEPTED);
    await delivery.drain();
    expect(delivery.status()).toMatchObject({ cursor: 400, lagRecords: 0, lagMs: 0 });
  });

  test('moves over records that the filter leaves out', async () => {
    await using trial = await runTrial();
    await trial.fill(90);
    const sink = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(sink, { filter: { actions: ['delete'] } }).drain();
    expect(sink.taken).toHaveLength(30);
    expect(trial.metrics.filtered).toBe(60);
    const none = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(none, { filter: { kinds: ['gap'] } }, 'none').drain();
    expect(none.calls).toEqual([]);
    expect(readCursor(trial.ledger.cursorPath('none'))?.index).toBe(90);
  });

  test('starts at the end when told, and at the beginning otherwise', async () => {
    await using trial = await runTrial();
    await trial.fill(10);
    const late = new ScriptedSink(() => ACCEPTED);
    const delivery = trial.deliver(late, { start: 'now' });
    await trial.fill(5);
    await delivery.drain();
    expect(late.taken).toEqual(trial.ids.slice(10));
  });

  test('of a sink that starts now is durable at once: a crash does not make it start at a later now', async () => {
    await using trial = await runTrial();
    await trial.fill(10);
    const crashed = trial.deliver(new ScriptedSink(() => ACCEPTED, { maxAgeMs: 600_000 }), { start: 'now' });
    // What is on the disk at the moment of the crash, before anything was delivered.
    const kept = readFileSync(trial.ledger.cursorPath('sink'));
    await trial.fill(5);
    crashed.abort();
    await crashed.done;
    writeFileSync(trial.ledger.cursorPath('sink'), kept);
    const sink = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(sink, { start: 'now' }).drain();
    expect(sink.taken).toEqual(trial.ids.slice(10));
  });

  test.each([
    ['stands behind the end of the ledger', '{"index":6}', 6],
    ['cannot be read', '{"index":', 0],
  ])('that %s stops the sink before it sends anything, and nobody else', async (_what, content, cursor) => {
    await using trial = await runTrial();
    await trial.fill(5);
    writeFileSync(trial.ledger.cursorPath('sink'), content);
    const sink = new ScriptedSink(() => ACCEPTED);
    const delivery = trial.deliver(sink);
    await expect(delivery.done).rejects.toMatchObject({ code: 'AUD_SINK_CURSOR' });
    await expect(delivery.drain()).rejects.toMatchObject({ code: 'AUD_SINK_CURSOR' });
    expect(delivery.status()).toMatchObject({
      state: 'failed',
      lastError: expect.stringMatching(/cursor file/),
      cursor,
    });
    expect(sink).toMatchObject({ calls: [], closed: 1 });
    expect(readFileSync(trial.ledger.cursorPath('sink'), 'utf8')).toBe(content);
  });
});

describe('records that retention removes before they are delivered', () => {
  const smallSegments = async () => {
    const trial = await runTrial({ segmentBytes: 4096 });
    // A segment is rolled between two groups of records.
    for (let n = 0; n < 10; n++) await trial.fill(6);
    return trial;
  };
  const removeOldest = (trial: SinkTrial, count: number) => {
    const { segments } = trial.ledger.ledger.layout;
    for (const name of readdirSync(segments).sort().slice(0, count)) rmSync(join(segments, name));
  };
  const said = (trial: SinkTrial, from: number, to: number) => {
    expect(trial.ledger.controls).toMatchObject([
      { kind: 'capture', action: 'not_delivered', outcome: 'failure', details: { cause: 'retention', from, to } },
    ]);
    expect(trial.logs.count('sink_records_removed')).toBe(1);
    expect(trial.metrics).toMatchObject({ removed: to - from, lastError: expect.stringContaining('retention') });
  };

  test('are said and counted, and the sink goes on behind them', async () => {
    await using trial = await smallSegments();
    writeFileSync(trial.ledger.cursorPath('sink'), '{"index":2}');
    removeOldest(trial, 2);
    const { start } = trial.ledger.ledger.reader;
    expect(start).toBeGreaterThan(2);
    const sink = new ScriptedSink(() => ACCEPTED);
    await trial.deliver(sink).drain();
    expect(sink.taken.filter((id) => id.startsWith(trial.prefix))).toEqual(trial.ids.slice(start));
    said(trial, 2, start);
  });

  test('also while the sink runs and its receiver is down', async () => {
    await using trial = await smallSegments();
    let down = true;
    const sink = new ScriptedSink(() => (down ? { outcome: 'unavailable', reason: 'ECONNREFUSED' } : ACCEPTED), {
      maxBatchRecords: 5,
    });
    const delivery = trial.deliver(sink);
    await trial.until(() => trial.metrics.retries > 2, 'some tries');
    removeOldest(trial, 4);
    const { start } = trial.ledger.ledger.reader;
    down = false;
    await delivery.drain();
    const taken = sink.taken.filter((id) => id.startsWith(trial.prefix));
    const passed = trial.ledger.controls[0]!.details as { from: number; to: number };
    expect(passed.to).toBe(start);
    expect(taken).toEqual([...trial.ids.slice(0, passed.from), ...trial.ids.slice(start)]);
    said(trial, passed.from, start);
  });

  test('are said once, however often it starts again with the receiver down', async () => {
    await using trial = await smallSegments();
    writeFileSync(trial.ledger.cursorPath('sink'), '{"index":2}');
    removeOldest(trial, 2);
    const { start } = trial.ledger.ledger.reader;
    let down = true;
    const sink = new ScriptedSink(() => (down ? { outcome: 'unavailable', reason: 'ECONNREFUSED' } : ACCEPTED));
    for (let n = 1; n <= 3; n++) {
      const delivery = trial.deliver(sink);
      await trial.until(() => sink.calls.length >= n * 2, 'some tries');
      delivery.abort();
      await delivery.done;
      expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(start);
    }
    down = false;
    await trial.deliver(sink).drain();
    expect(sink.taken.filter((id) => id.startsWith(trial.prefix))).toEqual(trial.ids.slice(start));
    expect(trial.ledger.controls).toMatchObject([{ action: 'not_delivered', details: { from: 2, to: start } }]);
    expect(trial.logs.count('sink_records_removed')).toBe(1);
    expect(trial.metrics.removed).toBe(start - 2);
  });
});

test('a receiver that refuses everything, the records about refusals too, does not fill the ledger', async () => {
  await using trial = await runTrial();
  await trial.fill(3);
  const sink = new ScriptedSink(() => ({ outcome: 'rejected', reason: 'no' }));
  const delivery = trial.deliver(sink);
  await trial.until(
    () => delivery.status().lagRecords === 0 && trial.metrics.deadLetters > 3,
    'the refusals to settle',
  );
  await sleep(100);
  await delivery.drain();
  expect(trial.ledger.controls.length).toBeLessThanOrEqual(3);
  expect(trial.metrics.deadLetters).toBe(3 + trial.ledger.controls.length);
  expect(existsSync(trial.ledger.deadLetterPath('sink'))).toBe(true);
});

test('records refused one by one are kept together: one sync, one line of the log and one record for a request’s worth', async () => {
  await using trial = await runTrial();
  await trial.fill(64);
  const refused = new Set(trial.ids.filter((_, n) => n % 4 === 1));
  const sink = new ScriptedSink((ids) =>
    ids.some((id) => refused.has(id)) ? { outcome: 'rejected', reason: 'http_400' } : ACCEPTED,
  );
  await trial.deliver(sink).drain();
  expect(trial.metrics.deadLetters).toBe(16);
  expect(trial.logs.count('sink_dead_letter')).toBe(1);
  expect(trial.ledger.controls).toMatchObject([
    { action: 'dead_letter', details: { count: 16, reasons: { http_400: 16 }, first: 1, last: 61 } },
  ]);
  const letters = readFileSync(trial.ledger.deadLetterPath('sink'), 'utf8').trimEnd().split('\n');
  expect(letters.map((line) => JSON.parse(line).record.id)).toEqual([...refused]);
});

test('refused in several answers, records are kept and told in the order of the ledger', async () => {
  await using trial = await runTrial();
  await trial.fill(10);
  const [early, late] = [trial.ids[2]!, trial.ids[7]!];
  const sink = new ScriptedSink((ids, call) => {
    if (call > 0) return ids.includes(early) ? { outcome: 'rejected', reason: 'bad' } : ACCEPTED;
    return {
      outcome: 'partial',
      failed: [
        { at: ids.indexOf(late), retry: false, reason: 'bad' },
        { at: ids.indexOf(early), retry: true, reason: 'busy' },
      ],
    };
  });
  await trial.deliver(sink).drain();
  expect(trial.ledger.controls).toMatchObject([{ action: 'dead_letter', details: { count: 2, first: 2, last: 7 } }]);
  const letters = readFileSync(trial.ledger.deadLetterPath('sink'), 'utf8').trimEnd().split('\n');
  expect(letters.map((line) => JSON.parse(line).index)).toEqual([2, 7]);
});

test('refused records that were not written are not counted', async () => {
  await using trial = await runTrial();
  await trial.fill(3);
  mkdirSync(trial.ledger.deadLetterPath('sink'), { recursive: true });
  const sink = new ScriptedSink(() => ({ outcome: 'rejected', reason: 'no' }));
  await expect(trial.deliver(sink).done).rejects.toMatchObject({ code: 'AUD_LEDGER_WRITE' });
  expect(trial.metrics.deadLetters).toBe(0);
  expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(0);
});

test('stopped in the middle of a request, refused records are not kept twice', async () => {
  await using trial = await runTrial();
  await trial.fill(10);
  const bad = trial.ids[2]!;
  let down = true;
  const sink = new ScriptedSink((ids) => {
    if (ids.includes(bad))
      return {
        outcome: 'partial',
        failed: [
          { at: ids.indexOf(bad), retry: false, reason: 'bad' },
          { at: 9, retry: true, reason: 'busy' },
        ],
      };
    return down ? { outcome: 'unavailable', reason: 'ECONNREFUSED' } : ACCEPTED;
  });
  const delivery = trial.deliver(sink);
  await trial.until(() => trial.metrics.retries > 2, 'the rest to be tried again');
  delivery.abort();
  await delivery.done;
  expect(existsSync(trial.ledger.deadLetterPath('sink'))).toBe(false);
  down = false;
  await trial.deliver(sink).drain();
  expect(readFileSync(trial.ledger.deadLetterPath('sink'), 'utf8').trimEnd().split('\n')).toHaveLength(1);
});

test('no more than the allowed number of batches is on the way', async () => {
  await using trial = await runTrial();
  await trial.fill(1000);
  let now = 0;
  let most = 0;
  const sink = new ScriptedSink(
    async () => {
      most = Math.max(most, ++now);
      await sleep(2);
      now--;
      return ACCEPTED;
    },
    { maxInFlight: 3 },
  );
  await trial.deliver(sink).drain();
  expect(most).toBe(3);
  expect(new Set(sink.taken)).toEqual(new Set(trial.ids));
});
