import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { classifyWriteError, DescriptorSink } from '../../src/sinks/stdout.ts';
import { batchOf } from '../support/batch.ts';
import { temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';

const WRITER = fileURLToPath(new URL('../support/stdout-writer.ts', import.meta.url));
const THREAD = fileURLToPath(new URL('../support/stdout-thread.ts', import.meta.url));
const lines = (...ids: string[]) => batchOf(ids.map((id) => JSON.stringify({ id })));

/** A process that delivers `count` records to its standard output through the sink and says on stderr how it went. */
function startWriter(count: number, program = WRITER, ...args: string[]) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, String(count), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Listened for from the start: a short process may have ended before anybody asks.
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let said = '';
  child.stderr.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  return { child, exit, said: () => said };
}

describe('standard output', () => {
  test('through a pipe that is read slowly has every line whole, and the process is not held up', async () => {
    const { child, said } = startWriter(20_000);
    // Nobody reads: the process must go on with other things, which it says.
    await until(() => said().split('alive').length > 3, { what: 'signs of life' });
    expect(said()).not.toContain('accepted');
    let text = '';
    for await (const bytes of child.stdout as AsyncIterable<Buffer>) text += bytes.toString();
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).n),
    ).toEqual(Array.from({ length: 20_000 }, (_, n) => n));
    await until(() => said().includes('accepted'), { what: 'the answer' });
  });

  test('takes other shapes of records, from a thread', async () => {
    const { child, exit, said } = startWriter(2000, THREAD, 'ecs');
    let text = '';
    for await (const bytes of child.stdout as AsyncIterable<Buffer>) text += bytes.toString();
    expect(await exit, said()).toBe(0);
    expect(said()).toContain('delivered 2000');
    const documents = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(documents.map(({ event }) => event.sequence)).toEqual(Array.from({ length: 2000 }, (_, n) => n));
    expect(documents[0]).toMatchObject({ ecs: { version: expect.any(String) } });
  });

  test('in a thread whose reader goes away is closed for good too', async () => {
    const { child, exit, said } = startWriter(20_000, THREAD, 'ecs');
    child.stdout.once('data', () => child.stdout.destroy());
    expect(await exit, said()).toBe(0);
    expect(said()).toContain('AUD_SINK_CLOSED');
  });

  test('whose reader goes away is closed for good', async () => {
    const { child, exit, said } = startWriter(200_000);
    child.stdout.once('data', () => child.stdout.destroy());
    await until(() => said().includes('closed'), { what: 'the answer' });
    expect(await exit).toBe(0);
  });

  test('into a file appends', async () => {
    await using dir = await temporaryDirectory();
    fs.writeFileSync(dir.join('out'), 'before\n');
    const fd = fs.openSync(dir.join('out'), 'a');
    const sink = new DescriptorSink(fd);
    expect(await sink.deliver(lines('a', 'b'), AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
    expect(await sink.deliver({ ...lines('c'), first: 2 }, AbortSignal.timeout(5000))).toEqual({ outcome: 'accepted' });
    await sink.close();
    fs.closeSync(fd);
    expect(fs.readFileSync(dir.join('out'), 'utf8')).toBe('before\n{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n');
  });

  test('on a full disk waits, without a torn or doubled line', async ({ skip }) => {
    if (!fs.existsSync('/dev/full')) return skip('there is no /dev/full here');
    const fd = fs.openSync('/dev/full', 'w');
    const sink = new DescriptorSink(fd);
    expect(await sink.deliver(lines('a'), AbortSignal.timeout(5000))).toEqual({
      outcome: 'unavailable',
      reason: 'ENOSPC',
    });
    await sink.close();
    fs.closeSync(fd);
  });

  test('goes on after a full disk where it stopped, however the records are cut then', async ({ skip }) => {
    await using dir = await temporaryDirectory();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', dir.path], { stdio: 'ignore' });
    } catch {
      return skip('a small file system cannot be mounted by this user');
    }
    try {
      fs.writeFileSync(dir.join('ballast'), Buffer.alloc(40_000));
      const records = Array.from({ length: 40 }, (_, n) => JSON.stringify({ id: `r${n}`, text: 'x'.repeat(1000) }));
      const fd = fs.openSync(dir.join('out'), 'a');
      const sink = new DescriptorSink(fd);
      const within = AbortSignal.timeout(5000);
      expect(await sink.deliver(batchOf(records), within)).toMatchObject({ outcome: 'unavailable' });
      expect(fs.statSync(dir.join('out')).size).toBeGreaterThan(0);
      fs.rmSync(dir.join('ballast'));
      for (const part of [records.slice(0, 5), records.slice(5, 30), records.slice(30)]) {
        expect(await sink.deliver(batchOf(part), within)).toEqual({ outcome: 'accepted' });
      }
      await sink.close();
      fs.closeSync(fd);
      expect(fs.readFileSync(dir.join('out'), 'utf8')).toBe(`${records.join('\n')}\n`);
    } finally {
      execFileSync('umount', [dir.path]);
    }
  });

  test('stops waiting at an abort', async () => {
    const { child, said } = startWriter(-20_000);
    await until(() => said().includes('aborted'), { what: 'the answer' });
    child.stdout.resume();
    await sleep(0);
    child.kill();
  });

  test('errors mean what they mean', () => {
    expect(classifyWriteError(Object.assign(new Error('x'), { code: 'EPIPE' })).outcome).toBe('closed');
    expect(classifyWriteError(Object.assign(new Error('x'), { code: 'ENOSPC' }))).toEqual({
      outcome: 'unavailable',
      reason: 'ENOSPC',
    });
  });
});
