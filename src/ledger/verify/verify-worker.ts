// Thread of verify: one job at a time.
import { parentPort } from 'node:worker_threads';
import { runJob, type VerifyJob } from './jobs.ts';

parentPort!.on('message', (job: VerifyJob) => parentPort!.postMessage(runJob(job)));
