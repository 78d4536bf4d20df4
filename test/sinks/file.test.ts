import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createFileSink, fileOptions } from '../../src/sinks/file.ts';
import { batchOf } from '../support/batch.ts';
import { memoryLog } from '../support/memory-log.ts';
import { BACKLOG, runTrial } from '../support/sink-trial.ts';
import { temporaryDirectory } from '../support/tmp.ts';

const sinkTo = (path: string, more: object = {}, now = Date.now) =>
  createFileSink(fileOptions.parse({ type: 'file', path, batch_wait_ms: 5, ...more }), {
    name: 'file',
    log: memoryLog().log,
    now,
  });

const idsIn = (path: string): string[] =>
  fs
    .readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line).id);
const lines = (...ids: string[]) => batchOf(ids.map((id) => JSON.stringify({ id })));

describe('the file sink', () => {
  test('writes every record, in order, and goes on behind its cursor', async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('deep', 'audit.ndjson');
    await using trial = await runTrial();
    for (let round = 0; round < 3; round++) {
      await trial.fill(500);
      await trial.deliver(sinkTo(path)).drain();
    }
    expect(idsIn(path)).toEqual(trial.ids);
  });

  test('drains a backlog', { timeout: 600_000 }, async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('audit.ndjson');
    await using trial = await runTrial();
    await trial.fill(BACKLOG);
    await trial.deliver(sinkTo(path)).drain();
    expect(idsIn(path)).toEqual(trial.ids);
  });

  test('puts the file aside by size, by age, and keeps as many as told', async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('audit.ndjson');
    await using trial = await runTrial();
    await trial.fill(3000);
    await trial.deliver(sinkTo(path, { max_bytes: 200_000 }), { batch_records: 100 }).drain();
    const names = fs.readdirSync(dir.path).sort();
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(fs.statSync(dir.join(name)).size).toBeLessThanOrEqual(200_000);
    const aside = names.filter((name) => name !== 'audit.ndjson');
    expect([...aside, 'audit.ndjson'].flatMap((name) => idsIn(dir.join(name)))).toEqual(trial.ids);

    let now = Date.now();
    const sink = sinkTo(path, { max_age_ms: 1000, keep: 2 }, () => now);
    for (let n = 0; n < 4; n++) {
      now += 60_000;
      await sink.deliver({ ...lines(`late-${n}`), first: 9000 + n }, AbortSignal.timeout(5000));
    }
    await sink.close();
    expect(fs.readdirSync(dir.path).filter((name) => name.startsWith('audit-'))).toHaveLength(2);
    expect(idsIn(path)).toEqual(['late-3']);
  });

  test('cuts a torn last line and leaves complete ones', async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('audit.ndjson');
    fs.writeFileSync(path, `{"id":"a"}\n{"id":"b","after":"${'x'.repeat(100_000)}`);
    const sink = sinkTo(path);
    await sink.deliver(lines('b'), AbortSignal.timeout(5000));
    await sink.close();
    expect(idsIn(path)).toEqual(['a', 'b']);
  });

  test('makes the file anew after somebody moved it away', async () => {
    await using dir = await temporaryDirectory();
    const path = dir.join('audit.ndjson');
    const sink = sinkTo(path);
    await sink.deliver(lines('a'), AbortSignal.timeout(5000));
    fs.renameSync(path, dir.join('moved'));
    await sink.deliver(lines('b'), AbortSignal.timeout(5000));
    await sink.close();
    expect([idsIn(dir.join('moved')), idsIn(path)]).toEqual([['a'], ['b']]);
  });

  test('waits for space on a full disk and writes each record once', async ({ skip }) => {
    await using dir = await temporaryDirectory();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', dir.path], { stdio: 'ignore' });
    } catch {
      return skip('a small file system cannot be mounted by this user');
    }
    try {
      const path = dir.join('audit.ndjson');
      fs.writeFileSync(dir.join('ballast'), Buffer.alloc(150_000));
      await using trial = await runTrial();
      await trial.fill(150);
      const delivery = trial.deliver(sinkTo(path), { batch_records: 50 });
      await trial.until(() => delivery.status().retries > 3, 'tries on the full disk');
      expect(delivery.status().lastError).toBe('ENOSPC');
      fs.rmSync(dir.join('ballast'));
      await delivery.drain();
      expect(idsIn(path)).toEqual(trial.ids);
      // Smaller batches may find a little room in between; not each try is said.
      expect(trial.logs.count('sink_down')).toBe(trial.logs.count('sink_up'));
      expect(trial.logs.count('sink_down')).toBeLessThan(trial.metrics.retries);
    } finally {
      execFileSync('umount', [dir.path]);
    }
  });

  test('says in a check what it cannot write', async () => {
    await using dir = await temporaryDirectory();
    fs.writeFileSync(dir.join('plain'), '');
    const report = await sinkTo(dir.join('plain', 'audit.ndjson')).check(AbortSignal.timeout(5000));
    expect(report.items[0]).toMatchObject({ level: 'error' });
    expect((await sinkTo(dir.join('audit.ndjson')).check(AbortSignal.timeout(5000))).items[0]).toMatchObject({
      level: 'ok',
    });
  });
});
