// npm run bench [-- workload …] [--rounds N]: measures side by side and writes bench/RESULTS.md.
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    changes: { type: 'string', default: '300000' },
    rate: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '20' },
  },
});
const rounds = Number(values.rounds);

/** Each is loaded when it is asked for: most need servers or clients that others do not. */
const WORKLOADS: Readonly<Record<string, () => Promise<void>>> = {
  actor: async () => (await import('./actor.ts')).runActor({ rounds }),
  verify: async () =>
    (await import('./verify.ts')).runVerify({ rounds, records: Math.max(Number(values.changes), 1_000_000) }),
  sinks: async () =>
    (await import('./sinks.ts')).runSinks({ rounds, records: Math.min(Number(values.changes), 200_000) }),
  beside: async () => (await import('./sinks.ts')).runBeside({ rounds }),
  w1: async () => (await import('./w1.ts')).runW1({ rounds, changes: Number(values.changes) }),
  w2: async () => void (await (await import('./w2.ts')).runW2({ rounds, changes: Number(values.changes) })),
  w3: async () =>
    (await import('./w3.ts')).runW3({ rounds, rate: Number(values.rate), seconds: Number(values.seconds) }),
};

const unknown = positionals.filter((name) => !(name in WORKLOADS));
if (unknown.length > 0) {
  console.error(`bench: no workload ${unknown.join(', ')}; known: ${Object.keys(WORKLOADS).join(', ')}`);
  process.exit(2);
}
for (const name of positionals.length > 0 ? positionals : Object.keys(WORKLOADS)) {
  console.error(`bench: ${name}`);
  await WORKLOADS[name]!();
}
