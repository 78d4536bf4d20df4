// What every sink must do with its real receiver. A sink's test file calls `sinkConformance` once.
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sink } from '../../src/core/sink.ts';
import { readCursor } from '../../src/pipeline/delivery/cursor-file.ts';
import { type Fault, FaultProxy, NO_FAULT } from '../support/fault-proxy.ts';
import { type HttpFault, HttpFaultProxy } from '../support/http-faults.ts';
import { LIES, LyingServer } from '../support/lying-server.ts';
import { type ReceiverName, receiverMissing } from '../support/receivers.ts';
import { type RecordFields, sampleRecord } from '../support/sink-ledger.ts';
import { BACKLOG, BACKLOG_IS_CHOSEN, runTrial, type SinkTrial } from '../support/sink-trial.ts';
import { until } from '../support/wait.ts';

/** A running receiver. All tests of a sink share it; each uses ids with a prefix of its own. */
export interface SinkReceiver extends AsyncDisposable {
  /** TCP port on 127.0.0.1. */
  readonly port: number;
  /**
   * A sink that talks to 127.0.0.1:`port`, which is the receiver or a proxy in front of it, and gives a request up after
   * two seconds at most.
   */
  sink(port: number): Sink;
  /** Ids of everything the receiver holds now, in its own order, each as often as it stands there. */
  ids(): Promise<string[]>;
  /** Stops the receiver, keeping its data, and starts it again at the same port. Absent: it cannot. */
  restart?(whileDown: () => Promise<void>): Promise<void>;
  /** A sink with wrong credentials. Absent: the receiver checks none. */
  badCredentials?(port: number): Sink;
  /** Changes a record so that the receiver refuses it for good, it alone. Absent: it refuses none. */
  poison?(record: RecordFields): RecordFields;
}

export interface SinkCase {
  readonly name: string;
  /** `ledger`: records stand at the receiver in the order of the ledger (the first copy of each, if there are copies). */
  readonly order: 'ledger' | 'none';
  /** Whether the receiver keeps one of two records with the same id. */
  readonly duplicates: 'dropped' | 'kept';
  /** Its protocol is HTTP: it is seen to say that it is busy. */
  readonly http?: boolean;
  /** Protocols without any acknowledgement can lose what is on the way when a connection breaks. Default true. */
  readonly acknowledged?: boolean;
  /** Records of the backlog test where the usual number would take too long; CHANGETRAIL_BACKLOG goes before it. */
  readonly backlog?: number;
  /** The receiver takes long to build or much memory: it is used with CHANGETRAIL_SINKS=all only. */
  readonly heavy?: boolean;
  /** The real receiver that `start` starts. Absent: it is a part of the test. */
  readonly needs?: ReceiverName;
  start(): Promise<SinkReceiver>;
}

const ALL = process.env['CHANGETRAIL_SINKS'] === 'all';

/** Runs the suite against one sink. */
export async function sinkConformance(subject: SinkCase): Promise<void> {
  const left = subject.heavy === true && !ALL;
  const missing = !left && subject.needs !== undefined && (await receiverMissing(subject.needs));
  const name = `sink ${subject.name}${left ? ' (only with CHANGETRAIL_SINKS=all)' : ''}`;
  const timeout = subject.heavy === true ? 600_000 : 120_000;
  describe.skipIf(left || missing)(name, { timeout }, () => {
    let receiver: SinkReceiver;
    beforeAll(async () => {
      receiver = await subject.start();
    }, 600_000);
    afterAll(async () => {
      await receiver?.[Symbol.asyncDispose]();
    });
    const suite: Suite = { subject, receiver: () => receiver };
    deliversEverything(suite);
    standsFaults(suite);
    survivesCrashes(suite);
    handlesRefusals(suite);
  });
}

interface Suite {
  readonly subject: SinkCase;
  receiver(): SinkReceiver;
}

function deliversEverything({ subject, receiver }: Suite): void {
  test('delivers every record once, in order where the receiver keeps one', async () => {
    await using trial = await startTrial(receiver());
    await trial.fill(1000);
    await trial.deliver(receiver().sink(receiver().port)).drain();
    const ids = await trial.complete();
    expect(ids).toHaveLength(1000);
    if (subject.order === 'ledger') expect(ids).toEqual(trial.ids);
    expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(1000);
  });

  test('delivers what is written while it runs', async () => {
    await using trial = await startTrial(receiver());
    const delivery = trial.deliver(receiver().sink(receiver().port));
    for (let i = 0; i < 5; i++) {
      await trial.fill(20);
      await until(() => delivery.status().lagRecords === 0, { what: 'the cursor to reach the end' });
    }
    await delivery.drain();
    expect(await trial.complete()).toHaveLength(100);
  });

  test('drains a backlog', { timeout: 900_000 }, async () => {
    await using trial = await startTrial(receiver());
    // A day's: old records count for receivers that keep time.
    await trial.fill(BACKLOG_IS_CHOSEN ? BACKLOG : (subject.backlog ?? BACKLOG), 86_400_000);
    await trial.deliver(receiver().sink(receiver().port)).drain();
    const ids = await trial.complete();
    if (subject.order === 'ledger') expect(ids).toEqual(trial.ids);
  });

  test('delivers a record over the limit whole in meaning: split into parts or with values digested', async () => {
    const sink = receiver().sink(receiver().port);
    const limit = sink.limits.maxRecordBytes ?? 2 << 20;
    for (const oversized of ['digest', 'split'] as const) {
      await using trial = await startTrial(receiver());
      const large = { ...sampleRecord(1, trial.prefix), after: { id: 1, bio: 'é"x\n'.repeat(Math.ceil(limit / 4)) } };
      await trial.write([sampleRecord(0, trial.prefix), large, sampleRecord(2, trial.prefix)]);
      await trial.deliver(receiver().sink(receiver().port), { oversized }).drain();
      const whole = new Set((await trial.complete()).map((id) => id.replace(/(#part\d+)+$/, '')));
      expect(whole).toEqual(new Set(trial.ids));
      expect(trial.metrics.deadLetters).toBe(0);
    }
    await sink.close();
  });

  test('says that the receiver is well', async () => {
    const sink = receiver().sink(receiver().port);
    const report = await sink.check(AbortSignal.timeout(10_000));
    await sink.close();
    expect(report.items.filter((item) => item.level === 'error')).toEqual([]);
    expect(report.items.length).toBeGreaterThan(0);
  });
}

/** Each stage of a request at which a connection can break, or stall. */
const STAGES: readonly Fault[] = [
  { kind: 'refuse' },
  ...[0, 1, 100, 2000, 30_000].map((afterBytes): Fault => ({ kind: 'cut', direction: 'up', afterBytes })),
  ...[0, 1, 20, 100].map((afterBytes): Fault => ({ kind: 'cut', direction: 'down', afterBytes })),
  { kind: 'hang', direction: 'up', afterBytes: 500 },
  { kind: 'hang', direction: 'down', afterBytes: 0 },
];

function standsFaults({ subject, receiver }: Suite): void {
  const acknowledged = subject.acknowledged !== false;

  test.runIf(acknowledged)(
    'loses nothing when connections break or stall at every stage',
    { timeout: 300_000 },
    async () => {
      await using proxy = await FaultProxy.start(receiver().port);
      for (const fault of STAGES) {
        await using trial = await startTrial(receiver());
        await trial.fill(100);
        const before = proxy.connections;
        proxy.plan = (connection) => (connection - before < 2 ? fault : NO_FAULT);
        await trial.deliver(receiver().sink(proxy.port)).drain();
        const ids = await trial.complete();
        if (subject.duplicates === 'dropped') expect(ids, JSON.stringify(fault)).toHaveLength(100);
      }
    },
  );

  test('waits for a receiver that is down, and says so once', async () => {
    await using proxy = await FaultProxy.start(receiver().port);
    proxy.plan = () => ({ kind: 'refuse' });
    await using trial = await startTrial(receiver());
    await trial.fill(50);
    const delivery = trial.deliver(receiver().sink(proxy.port));
    await until(() => trial.metrics.retries >= 5, { what: 'five tries' });
    expect(trial.logs.count('sink_down')).toBe(1);
    expect(delivery.status()).toMatchObject({ state: 'down', cursor: 0, lagRecords: 50 });
    expect(delivery.status().lastError).toBeTruthy();
    proxy.plan = () => NO_FAULT;
    await delivery.drain();
    await trial.complete();
    expect(trial.logs.count('sink_down')).toBe(1);
    expect(trial.logs.count('sink_up')).toBe(1);
  });

  test.runIf(subject.http === true)('waits as long as a receiver that is busy says, and gives up nothing', async () => {
    await using proxy = await HttpFaultProxy.start(receiver().port);
    await using trial = await startTrial(receiver());
    await trial.fill(100);
    const busy = (retryAfter: string): HttpFault => ({ kind: 'status', status: 429, retryAfter, forwarded: false });
    proxy.schedule = [busy('1'), busy('soon'), { ...busy('0'), status: 503 } as HttpFault];
    const start = performance.now();
    await trial.deliver(receiver().sink(proxy.port)).drain();
    expect(performance.now() - start).toBeGreaterThanOrEqual(1000);
    expect(trial.metrics.retries).toBeGreaterThanOrEqual(3);
    const ids = await trial.complete();
    if (subject.order === 'ledger') expect(ids).toEqual(trial.ids);
  });

  test('ends at once when it is aborted while the receiver is down or stalls', async () => {
    await using proxy = await FaultProxy.start(receiver().port);
    const stalls: Fault[] = acknowledged ? [{ kind: 'hang', direction: 'down', afterBytes: 0 }] : [];
    for (const fault of [{ kind: 'refuse' } as const, ...stalls]) {
      proxy.plan = () => fault;
      await using trial = await startTrial(receiver());
      await trial.fill(10);
      const delivery = trial.deliver(receiver().sink(proxy.port), { retry_max_ms: 60_000 });
      await until(() => trial.metrics.batches > 0, { what: 'a first try' });
      delivery.abort();
      await delivery.done;
      expect(readCursor(trial.ledger.cursorPath('sink'))?.index).toBe(0);
    }
  });
}

function survivesCrashes({ subject, receiver }: Suite): void {
  test('sends again after a crash what was not known to be there', async () => {
    await using trial = await startTrial(receiver());
    await trial.fill(300);
    await trial.deliver(receiver().sink(receiver().port)).drain();
    // A crash before the cursor was written: the same records come again.
    const again = trial.deliver(receiver().sink(receiver().port), {}, 'again');
    await again.drain();
    await trial.fill(100);
    await trial.deliver(receiver().sink(receiver().port)).drain();
    const ids = await trial.complete();
    if (subject.duplicates === 'dropped') expect(ids).toHaveLength(400);
  });

  test('stopped in the middle, goes on behind its cursor', async () => {
    await using trial = await startTrial(receiver());
    await trial.fill(2000);
    for (let round = 1; round <= 4; round++) {
      const delivery = trial.deliver(receiver().sink(receiver().port), { batch_records: 100 });
      await until(() => delivery.status().cursor >= Math.min(2000, round * 300), { what: 'some progress' });
      delivery.abort();
      await delivery.done;
    }
    await trial.deliver(receiver().sink(receiver().port)).drain();
    const ids = await trial.complete();
    if (subject.duplicates === 'dropped') expect(ids).toHaveLength(2000);
  });

  test('goes on when the receiver restarts in the middle', async ({ skip }) => {
    const { restart } = receiver();
    if (restart === undefined) return skip('this receiver cannot be restarted with its data');
    await using trial = await startTrial(receiver());
    await trial.fill(500);
    const delivery = trial.deliver(receiver().sink(receiver().port), { batch_records: 50, retry_max_ms: 500 });
    await until(() => delivery.status().cursor > 0, { what: 'a first batch' });
    await restart.call(receiver(), async () => {
      await trial.fill(500);
      await until(() => trial.metrics.downSince !== null, { what: 'the sink to see that it is down' });
    });
    await delivery.drain();
    await trial.complete();
  });
}

function handlesRefusals({ subject, receiver }: Suite): void {
  test('waits for good credentials and refuses no record meanwhile', async ({ skip }) => {
    const { badCredentials } = receiver();
    if (badCredentials === undefined) return skip('this receiver checks no credentials');
    await using trial = await startTrial(receiver());
    await trial.fill(20);
    const delivery = trial.deliver(badCredentials.call(receiver(), receiver().port));
    await until(() => trial.metrics.retries >= 3, { what: 'three tries' });
    expect(delivery.status()).toMatchObject({ state: 'down', cursor: 0, deadLetters: 0 });
    delivery.abort();
    await delivery.done;
    await trial.deliver(receiver().sink(receiver().port)).drain();
    await trial.complete();
  });

  test('keeps what the receiver refuses for good, alone, and says so in the ledger', async ({ skip }) => {
    const { poison } = receiver();
    if (poison === undefined) return skip('this receiver refuses no record');
    await using trial = await startTrial(receiver());
    const records = Array.from({ length: 40 }, (_, i) => sampleRecord(i, trial.prefix));
    const refused = [7, 8, 31];
    for (const at of refused) records[at] = poison.call(receiver(), records[at]!);
    await trial.write(records);
    const delivery = trial.deliver(receiver().sink(receiver().port));
    await until(() => trial.metrics.deadLetters >= refused.length, { what: 'the dead letters' });
    await delivery.drain();
    const bad = refused.map((at) => records[at]!.id);
    await trial.complete(bad);
    const path = trial.ledger.deadLetterPath('sink');
    expect(existsSync(path)).toBe(true);
    const letters = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(letters.map((letter) => letter.record.id).sort()).toEqual([...bad].sort());
    for (const letter of letters) expect(letter.reason).toBeTruthy();
    expect(trial.ledger.controls.filter((record) => record.action === 'dead_letter').length).toBeGreaterThan(0);
  });

  test.runIf(subject.acknowledged !== false)('never throws, whatever the receiver answers', async () => {
    await using liar = await LyingServer.start();
    await using trial = await startTrial(receiver());
    await trial.fill(5);
    for (const lie of LIES) {
      liar.lie = lie;
      const delivery = trial.deliver(receiver().sink(liar.port));
      const retries = trial.metrics.retries;
      await until(() => trial.metrics.retries > retries || delivery.status().cursor > 0, { what: 'an answer' });
      delivery.abort();
      await delivery.done;
      expect(delivery.status().cursor, `taken for delivered: ${lie.name}`).toBe(0);
    }
  });
}

interface Trial extends SinkTrial {
  /** Waits until the set of ids at the receiver is the set in the ledger; the receiver's ids of this trial. */
  complete(except?: readonly string[]): Promise<string[]>;
}

async function startTrial(receiver: SinkReceiver): Promise<Trial> {
  const trial = await runTrial();
  const arrived = async () => (await receiver.ids()).filter((id) => id.startsWith(`${trial.prefix}:`));
  const whole = (id: string) => id.replace(/(#part\d+)+$/, '');
  const complete = async (except: readonly string[] = []) => {
    if (except.length === 0) expect(trial.metrics.deadLetters, 'records given up').toBe(0);
    const wanted = trial.ids.filter((id) => !except.includes(id));
    const missing = async () => {
      const have = new Set((await arrived()).map(whole));
      return wanted.filter((id) => !have.has(id)).length;
    };
    await until(async () => (await missing()) === 0, { what: 'all ids at the receiver', timeoutMs: 300_000 });
    const ids = await arrived();
    const known = new Set(wanted);
    expect(ids.filter((id) => !known.has(whole(id)))).toEqual([]);
    return ids;
  };
  // A getter must stay one: the trial is extended, not copied.
  return Object.assign(Object.create(trial) as SinkTrial, { complete });
}
