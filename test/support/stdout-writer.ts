// Run by the test of the stdout sink: writes records to standard output through it and says on standard error what came of it.
import process from 'node:process';
import { DescriptorSink } from '../../src/sinks/stdout.ts';
import { batchOf } from './batch.ts';

const count = Number(process.argv[2]);
const abort = new AbortController();
const alive = setInterval(() => process.stderr.write('alive\n'), 20);
if (count < 0) setTimeout(() => abort.abort(), 200);
const sink = new DescriptorSink(1);
const lines = Array.from({ length: Math.abs(count) }, (_, n) => JSON.stringify({ n, text: 'x'.repeat(100) }));
const answer = await sink.deliver(batchOf(lines), abort.signal);
process.stderr.write(`${abort.signal.aborted ? 'aborted' : answer.outcome}\n`);
clearInterval(alive);
await sink.close();
