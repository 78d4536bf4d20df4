// Run by the test of the stdout sink: delivers a ledger to standard output from a sink's thread and says on standard error how it ended.
import process from 'node:process';
import { startSinkThread } from '../../src/pipeline/delivery/thread.ts';
import { stdoutOptions } from '../../src/sinks/stdout.ts';
import { runTrial } from './sink-trial.ts';

await using trial = await runTrial();
await trial.fill(Number(process.argv[2]));
const { ledger } = trial;
const handle = startSinkThread({
  name: 'out',
  type: 'stdout',
  options: stdoutOptions.parse({ type: 'stdout', format: process.argv[3] }),
  registry: new URL('../../src/cli/registry.ts', import.meta.url).href,
  segments: ledger.ledger.layout.segments,
  cursorPath: ledger.cursorPath('out'),
  deadLetterPath: ledger.deadLetterPath('out'),
  writer: ledger.ledger.writer,
  log: trial.logs.log,
  signal: new AbortController().signal,
  control: (record) => ledger.control(record),
});
try {
  await handle.drain();
  process.stderr.write(`delivered ${handle.status().records}\n`);
} catch (error) {
  process.stderr.write(`${(error as { code?: string }).code}\n`);
}
