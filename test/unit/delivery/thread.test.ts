import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readCursor } from '../../../src/pipeline/delivery/cursor-file.ts';
import { SharedEndTail, SharedEndWriter } from '../../../src/pipeline/delivery/shared-end.ts';
import { startSinkThread } from '../../../src/pipeline/delivery/thread.ts';
import { fileOptions } from '../../../src/sinks/file.ts';
import { httpOptions } from '../../../src/sinks/http.ts';
import { HttpReceiver } from '../../support/json-receiver.ts';
import { runTrial, type SinkTrial } from '../../support/sink-trial.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

const registry = new URL('../../../src/cli/registry.ts', import.meta.url).href;

function inThread(trial: SinkTrial, type: string, options: unknown) {
  const { ledger } = trial;
  const abort = new AbortController();
  const handle = startSinkThread({
    name: 'sink',
    type,
    options,
    registry,
    segments: ledger.ledger.layout.segments,
    cursorPath: ledger.cursorPath('sink'),
    deadLetterPath: ledger.deadLetterPath('sink'),
    writer: ledger.ledger.writer,
    log: trial.logs.log,
    signal: abort.signal,
    control: (record) => ledger.control(record),
  });
  return { ...handle, abort: () => abort.abort() };
}

/** Nice values of this process's threads, by their ids: the 19th field of a thread's stat, behind the name in parentheses. */
function threads(): Map<string, number> {
  const found = new Map<string, number>();
  for (const id of readdirSync('/proc/self/task')) {
    try {
      const stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
      found.set(id, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

const idsIn = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).id);

describe('a sink in a thread', () => {
  test('delivers what becomes durable while it runs, and what is there at a drain', async () => {
    await using dir = await temporaryDirectory();
    await using trial = await runTrial();
    const path = dir.join('audit.ndjson');
    await trial.fill(1000);
    const sink = inThread(trial, 'file', fileOptions.parse({ type: 'file', path, batch_wait_ms: 5 }));
    await trial.until(() => sink.status().cursor === 1000, 'the backlog');
    await trial.fill(300);
    await trial.until(() => sink.status().cursor === 1300, 'new records');
    await trial.fill(50);
    await sink.drain();
    expect(idsIn(path)).toEqual(trial.ids);
    expect(sink.status()).toMatchObject({ state: 'stopped', records: 1350, lagRecords: 0 });
  });

  test('brings dead letters, logs and control records to the ledger’s thread', async () => {
    await using server = await HttpReceiver.start(({ body }) => ({
      status: body.includes('"outcome":"unknown"') ? 422 : 200,
    }));
    await using trial = await runTrial();
    await trial.fill(3);
    await trial.write([{ id: `${trial.prefix}:bad`, kind: 'event', outcome: 'unknown' }]);
    const options = { type: 'http', url: `http://127.0.0.1:${server.port}/`, batch_wait_ms: 5 };
    const sink = inThread(trial, 'http', httpOptions.parse(options));
    await trial.until(() => trial.ledger.controls.length > 0, 'the control record');
    await sink.drain();
    expect(trial.ledger.controls[0]).toMatchObject({ action: 'dead_letter', details: { count: 1, first: 3, last: 3 } });
    expect(trial.logs.count('sink_dead_letter')).toBe(1);
    expect(sink.status().deadLetters).toBe(1);
  });

  test('ends at an abort, its cursor where the receiver stood', async () => {
    await using server = await HttpReceiver.start(() => ({ status: 503 }));
    await using trial = await runTrial();
    await trial.fill(10);
    const options = { type: 'http', url: `http://127.0.0.1:${server.port}/`, batch_wait_ms: 5 };
    const sink = inThread(trial, 'http', httpOptions.parse(options));
    await trial.until(() => sink.status().state === 'down', 'the sink to be down');
    expect(sink.status()).toMatchObject({ cursor: 0, lagRecords: 10, lastError: 'HTTP 503' });
    sink.abort();
    await sink.done;
    expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(0);
  });

  test.skipIf(process.platform !== 'linux')('has a lower priority than the thread that captures', async () => {
    await using dir = await temporaryDirectory();
    await using trial = await runTrial();
    await trial.fill(1);
    const before = threads();
    const own = Math.min(...before.values());
    const options = fileOptions.parse({ type: 'file', path: dir.join('out.ndjson'), batch_wait_ms: 5 });
    const sink = inThread(trial, 'file', options);
    await trial.until(() => sink.status().cursor === 1, 'the record');
    const lower = [...threads()].filter(([id, nice]) => !before.has(id) && nice > own);
    expect(lower).toHaveLength(1);
    await sink.drain();
  });

  test('whose cursor cannot be read fails alone, and its status can be asked for all the while', async () => {
    await using dir = await temporaryDirectory();
    await using trial = await runTrial();
    await trial.fill(2);
    writeFileSync(trial.ledger.cursorPath('sink'), '{"index":');
    const options = fileOptions.parse({ type: 'file', path: dir.join('out.ndjson'), batch_wait_ms: 5 });
    const sink = inThread(trial, 'file', options);
    expect(sink.status()).toMatchObject({ state: 'starting', cursor: 0, lagRecords: 2 });
    await expect(sink.done).rejects.toMatchObject({ code: 'AUD_SINK_CURSOR' });
    expect(sink.status()).toMatchObject({ state: 'failed', lastError: expect.stringMatching(/cannot be used/) });
  });

  test('that cannot be made fails alone, with its code', async () => {
    await using trial = await runTrial();
    const options = httpOptions.parse({ type: 'http', url: 'https://127.0.0.1/', tls: { ca: '/no/such/file' } });
    await expect(inThread(trial, 'http', options).done).rejects.toMatchObject({ code: 'AUD_SINK_OPTIONS' });
  });
});

test('a reader of the shared end never sees numbers of two ends mixed', async () => {
  const writer = new SharedEndWriter({ next: 0, segment: 0, offset: 0 });
  const tail = new SharedEndTail(writer.buffer);
  const abort = new AbortController();
  let woken = 0;
  const watching = (async () => {
    while (!abort.signal.aborted) {
      const { next, segment, offset } = tail.end;
      expect([segment, offset]).toEqual([next * 2, next * 3]);
      await tail.changed(abort.signal);
      woken++;
    }
  })();
  for (let n = 1; n <= 50; n++) {
    const before = woken;
    writer.set({ next: n, segment: n * 2, offset: n * 3 });
    while (woken === before) await new Promise((resolve) => setImmediate(resolve));
  }
  abort.abort();
  await watching;
  expect(tail.end.next).toBe(50);
});
