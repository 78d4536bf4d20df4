import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { setFaultPoint } from '../../../src/ledger/file-ops.ts';
import { type OpenLedger, openLedger } from '../../../src/ledger/ledger.ts';
import { temporaryDirectory } from '../../support/tmp.ts';
import { until } from '../../support/wait.ts';
import { codeOf, codeOfAsync } from './codes.ts';

afterEach(() => setFaultPoint(null));

function write(ledger: OpenLedger, text: string): void {
  const out = ledger.writer.begin();
  out.bytes(Buffer.from(`,"text":${JSON.stringify(text)}}`));
  ledger.writer.end();
}

function linesOf(data: string): string[] {
  const segments = join(data, 'ledger/segments');
  return readdirSync(segments)
    .sort()
    .flatMap((name) => readFileSync(join(segments, name), 'utf8').split('\n').slice(0, -1));
}

function isGapFree(lines: readonly string[]): boolean {
  return lines.every((line, index) => (JSON.parse(line) as { index: number }).index === index);
}

describe('the writer', () => {
  test('rolls segments while there is always more on the way, and each line is whole', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path, { segmentBytes: 1 << 20, groupMs: 0 });
    // Never a pause: each round writes more than a group before the one before it can be durable.
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 20; i++) write(ledger, 'x'.repeat(100_000));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await ledger.close();
    expect(readdirSync(dir.join('ledger/segments')).length).toBeGreaterThan(5);
    const lines = linesOf(dir.path);
    expect(lines).toHaveLength(240);
    expect(isGapFree(lines)).toBe(true);
  });

  test('takes a record larger than its buffer, and takes one back that was partly written', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    write(ledger, 'small');
    write(ledger, 'x'.repeat(20 << 20));
    const out = ledger.writer.begin();
    out.bytes(Buffer.alloc(9 << 20, 0x79));
    ledger.writer.abort();
    write(ledger, 'after');
    await ledger.close();
    const lines = linesOf(dir.path);
    expect(lines.map((line) => (JSON.parse(line) as { text: string }).text.length)).toEqual([5, 20 << 20, 5]);
    expect(isGapFree(lines)).toBe(true);
  });

  test('makes records durable that were written away to make room for one that was taken back', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path, { groupMs: 0 });
    write(ledger, 'small');
    const out = ledger.writer.begin();
    out.bytes(Buffer.alloc(9 << 20, 0x79));
    ledger.writer.abort();
    await until(() => ledger.writer.durable.next === 1, { what: 'the first record to be durable' });
    await ledger.close();
  });

  test('refuses records after its end', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    await ledger.close();
    await ledger.close();
    expect(codeOf(() => ledger.writer.begin())).toBe('AUD_LEDGER_CLOSED');
  });

  test('reports nothing durable once a sync failed, and tells each who waits', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    setFaultPoint((operation) => {
      if (operation === 'sync') throw Object.assign(new RangeError('EIO'), { code: 'EIO' });
      return undefined;
    });
    write(ledger, 'lost');
    const told: string[] = [];
    ledger.writer.onFailure((error) => told.push(error.code));
    expect(await codeOfAsync(() => ledger.writer.flushed())).toBe('AUD_LEDGER_WRITE');
    expect(await codeOfAsync(() => ledger.writer.flushed())).toBe('AUD_LEDGER_WRITE');
    expect(ledger.writer.durable.next).toBe(0);
    expect(told).toEqual(['AUD_LEDGER_WRITE']);
    expect(codeOf(() => ledger.writer.begin())).toBe('AUD_LEDGER_WRITE');
    setFaultPoint(null);
    expect(await codeOfAsync(() => ledger.close())).toBe('AUD_LEDGER_WRITE');
    await openLedger(dir.path).close();
  });
});

describe('a disk that is full', () => {
  test('stops the writer; what was durable is there, and the rest goes on after a restart with space', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path, { groupMs: 0 });
    write(ledger, 'kept');
    await ledger.writer.flushed();
    setFaultPoint((operation) => (operation === 'write' ? 25 : undefined));
    write(ledger, 'too much');
    const failure = await ledger.writer.flushed().then(
      () => null,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'AUD_LEDGER_WRITE', action: expect.stringContaining('Free disk space') });
    setFaultPoint(null);
    await ledger.close().catch(() => undefined);
    const again = openLedger(dir.path);
    expect(again.torn).toBe(0);
    write(again, 'more');
    await again.close();
    expect(linesOf(dir.path).map((line) => (JSON.parse(line) as { text: string }).text)).toEqual(['kept', 'more']);
  });

  const mayMount = process.platform === 'linux' && process.getuid?.() === 0;
  test.skipIf(!mayMount)('for real, on a small file system (needs root to mount one)', async () => {
    await using dir = await temporaryDirectory();
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir.path]);
    if (mounted.status !== 0) {
      // A container without the right to mount: the test above stands for it.
      console.log(`not run on a real full disk: mount is refused here (${mounted.stderr.toString().trim()})`);
      return;
    }
    try {
      const ledger = openLedger(dir.path, { groupMs: 0 });
      write(ledger, 'kept');
      await ledger.writer.flushed();
      write(ledger, 'x'.repeat(2 << 20));
      expect(await codeOfAsync(() => ledger.writer.flushed())).toBe('AUD_LEDGER_WRITE');
      await ledger.close().catch(() => undefined);
      const again = openLedger(dir.path);
      expect(again.writer.next).toBe(1);
      write(again, 'more');
      await again.close();
      expect(linesOf(dir.path)).toHaveLength(2);
    } finally {
      spawnSync('umount', [dir.path]);
    }
  });
});

describe('opening', () => {
  test('cuts a torn last line and goes on behind the whole ones', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    write(ledger, 'one');
    await ledger.close();
    const path = dir.join('ledger/segments/0000000000000000.ndjson');
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"v":1,"index":1,"text":"tor`);
    const again = openLedger(dir.path);
    expect(again.torn).toBe(28);
    expect(again.writer.next).toBe(1);
    write(again, 'two');
    await again.close();
    expect(isGapFree(linesOf(dir.path))).toBe(true);
  });

  test.each([
    ['a line that is not JSON', (lines: string[]) => lines.with(1, `${lines[1]!.slice(0, -3)}`), 1],
    ['a line that is missing', (lines: string[]) => lines.toSpliced(1, 1), 1],
    ['a line that is there twice', (lines: string[]) => lines.toSpliced(1, 0, lines[1]!), 2],
    ['a line that is no record', (lines: string[]) => lines.with(0, 'hello'), 0],
  ])('refuses %s, names the place and overwrites nothing', async (_, damage, index) => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    for (const text of ['a', 'b', 'c']) write(ledger, text);
    await ledger.close();
    const path = dir.join('ledger/segments/0000000000000000.ndjson');
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    writeFileSync(path, `${damage(lines).join('\n')}\n`);
    const before = readFileSync(path);
    let error: unknown;
    try {
      openLedger(dir.path);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'AUD_LEDGER_CORRUPT', data: { index, segment: '0000000000000000.ndjson' } });
    expect(readFileSync(path)).toEqual(before);
  });

  test('refuses when a segment is missing between two', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path, { segmentBytes: 50, groupMs: 0 });
    for (const text of ['a', 'b', 'c']) {
      write(ledger, text.repeat(60));
      await ledger.writer.flushed();
    }
    await ledger.close();
    rmSync(dir.join('ledger/segments/0000000000000001.ndjson'));
    expect(codeOf(() => openLedger(dir.path))).toBe('AUD_LEDGER_CORRUPT');
  });

  test('refuses a directory that another process writes, and names its pid', async () => {
    await using dir = await temporaryDirectory();
    const ledger = openLedger(dir.path);
    const script = `import { openLedger } from ${JSON.stringify(new URL('../../../src/ledger/ledger.ts', import.meta.url).href)};
      try { openLedger(${JSON.stringify(dir.path)}); console.log('opened'); } catch (error) { console.log(error.code, error.message); }`;
    const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(other.stdout).toContain('AUD_LEDGER_LOCKED');
    expect(other.stdout).toContain(`pid ${process.pid}`);
    await ledger.close();
    const after = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(after.stdout).toContain('opened');
  });

  test('takes over from a process that was killed in the middle of writing', async () => {
    await using dir = await temporaryDirectory();
    const script = `import { openLedger } from ${JSON.stringify(new URL('../../../src/ledger/ledger.ts', import.meta.url).href)};
      const ledger = openLedger(${JSON.stringify(dir.path)}, { segmentBytes: 200_000 });
      for (let i = 0; ; i++) {
        const out = ledger.writer.begin();
        out.ascii(',"n":' + i + ',"text":"' + 'x'.repeat(i % 5000) + '"}');
        ledger.writer.end();
        if (i % 100 === 0) { await ledger.writer.flushed(); console.log(ledger.writer.durable.next); }
        if (i === 2000) process.kill(process.pid, 'SIGKILL');
      }`;
    const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(other.signal).toBe('SIGKILL');
    const told = Number(other.stdout.trim().split('\n').at(-1));
    expect(told).toBeGreaterThan(1000);
    const ledger = openLedger(dir.path);
    expect(ledger.writer.next).toBeGreaterThanOrEqual(told);
    await ledger.close();
    expect(isGapFree(linesOf(dir.path))).toBe(true);
  });

  test('refuses a directory of a newer format', async () => {
    await using dir = await temporaryDirectory();
    await openLedger(dir.path).close();
    writeFileSync(dir.join('format.json'), '{"format":2}\n');
    expect(codeOf(() => openLedger(dir.path))).toBe('AUD_LEDGER_VERSION');
  });

  const isRoot = process.getuid?.() === 0;
  test('refuses a directory it may not write, and says what to do', async () => {
    await using dir = await temporaryDirectory();
    mkdirSync(dir.join('data'));
    chmodSync(dir.join('data'), 0o555);
    const script = `import { openLedger } from ${JSON.stringify(new URL('../../../src/ledger/ledger.ts', import.meta.url).href)};
      try { openLedger(${JSON.stringify(dir.join('data'))}); console.log('opened'); } catch (error) { console.log(error.code, error.action); }`;
    chmodSync(dir.path, 0o755);
    if (isRoot) chownSync(dir.join('data'), 0, 0);
    // Root may write anywhere: somebody else has to try.
    const nobody = isRoot ? { uid: 65_534, gid: 65_534 } : {};
    const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', ...nobody });
    if (other.status !== 0 && /Cannot find|EACCES/.test(other.stderr) && isRoot) {
      console.log(`not run: another user cannot read ${fileURLToPath(new URL('../../..', import.meta.url))}`);
      return;
    }
    expect(other.stdout, other.stderr).toContain('AUD_LEDGER_WRITE');
    expect(other.stdout).toContain('writable');
    expect(existsSync(dir.join('data/ledger'))).toBe(false);
  });
});
