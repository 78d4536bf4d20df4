// Random schedules of broken, stalled and slow connections between a sink and a real receiver, and a crash at a random moment:
// what the cursor has passed by then is at the receiver, and in the end the set of ids there is the set in the ledger.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCursor } from '../../src/pipeline/delivery/cursor-file.ts';
import type { SinkReceiver } from '../conformance/sink-suite.ts';
import { type Fault, FaultProxy, NO_FAULT } from '../support/fault-proxy.ts';
import { startLight } from '../support/kafka.ts';
import { startNats } from '../support/nats.ts';
import { type ReceiverName, receiverMissing } from '../support/receivers.ts';
import { runTrial } from '../support/sink-trial.ts';
import { until } from '../support/wait.ts';

const RUNS = process.env['CHANGETRAIL_SLOW'] === '1' ? 60 : 6;

const direction = fc.constantFrom('up' as const, 'down' as const);
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant<Fault>({ kind: 'refuse' }),
  fc.record({ kind: fc.constant('cut' as const), direction, afterBytes: fc.integer({ min: 0, max: 20_000 }) }),
  fc.record({ kind: fc.constant('hang' as const), direction, afterBytes: fc.integer({ min: 0, max: 5_000 }) }),
  fc.record({
    kind: fc.constant('drip' as const),
    direction,
    bytes: fc.integer({ min: 1, max: 400 }),
    everyMs: fc.constant(10),
  }),
  fc.constant(NO_FAULT),
);

const WIRES: readonly { name: string; needs: ReceiverName; start(): Promise<SinkReceiver> }[] = [
  { name: 'nats', needs: 'nats', start: startNats },
  { name: 'kafka', needs: 'kfake', start: startLight },
];

for (const { name, needs, start } of WIRES) {
  describe.skipIf(await receiverMissing(needs))(
    `${name} under a random schedule of faults`,
    { timeout: 600_000 },
    () => {
      let receiver: SinkReceiver;
      beforeAll(async () => {
        receiver = await start();
      }, 600_000);
      afterAll(() => receiver?.[Symbol.asyncDispose]());

      test('loses nothing, and no cursor runs ahead of the receiver', async () => {
        await using proxy = await FaultProxy.start(receiver.port);
        await fc.assert(
          fc.asyncProperty(
            fc.array(fault, { minLength: 1, maxLength: 6 }),
            fc.integer({ min: 1, max: 200 }),
            fc.integer({ min: 1, max: 60 }),
            fc.integer({ min: 1, max: 200 }),
            async (schedule, records, batch, crashAt) => {
              await using trial = await runTrial();
              await trial.fill(records);
              const options = { batch_records: batch, retry_max_ms: 5 };
              const have = async () =>
                new Set((await receiver.ids()).filter((id) => id.startsWith(`${trial.prefix}:`)));
              const missing = async (wanted: readonly string[]) => {
                const found = await have();
                return wanted.filter((id) => !found.has(id));
              };
              const before = proxy.connections;
              proxy.plan = (connection) => schedule[connection - before] ?? NO_FAULT;
              const delivery = trial.deliver(receiver.sink(proxy.port), options);
              await until(() => delivery.status().cursor >= Math.min(crashAt, records), { what: 'some progress' });
              delivery.abort();
              await delivery.done;
              proxy.cutAll();
              const passed = readCursor(trial.ledger.cursorPath('sink'))!.index;
              // Nothing is sent any more: what the cursor has passed is there, or never comes. A consumer may be behind a little.
              await until(async () => (await missing(trial.ids.slice(0, passed))).length === 0, {
                what: 'what the cursor has passed',
                timeoutMs: 20_000,
              });
              const again = trial.deliver(receiver.sink(receiver.port), options);
              await again.drain();
              await until(async () => (await missing(trial.ids)).length === 0, { what: 'all ids', timeoutMs: 20_000 });
              expect(await have()).toEqual(new Set(trial.ids));
              expect(again.status()).toMatchObject({ cursor: records, deadLetters: 0 });
            },
          ),
          // A smaller counterexample is not worth its waits.
          { numRuns: RUNS, endOnFailure: true },
        );
      });
    },
  );
}
