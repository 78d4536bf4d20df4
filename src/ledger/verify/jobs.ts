// Jobs of verify on all cores, with their results in order and few of them in memory.
import { Worker } from 'node:worker_threads';
import { beside } from '../../beside.ts';
import { AuditError } from '../../errors/audit-error.ts';
import { checkSegment, type SegmentJob, type SegmentResult } from './segment-job.ts';
import { checkTiles, type TileJob, type TileResult } from './tile-job.ts';

export type VerifyJob = SegmentJob | TileJob;
export type VerifyResult = SegmentResult | TileResult;

export function runJob(job: VerifyJob): VerifyResult {
  return job.job === 'segment' ? checkSegment(job) : checkTiles(job);
}

/** Jobs given out ahead of the one whose result is waited for, a thread. */
const AHEAD = 2;

/** The results of `jobs` in their order. No threads: in this one. */
export async function* runJobs(jobs: readonly VerifyJob[], threads: number): AsyncGenerator<VerifyResult> {
  if (threads === 0 || jobs.length < 2) {
    for (const job of jobs) yield runJob(job);
    return;
  }
  const pool = Array.from({ length: Math.min(threads, jobs.length) }, () => new JobThread());
  const results: Promise<VerifyResult>[] = [];
  let given = 0;
  const give = () => {
    const job = jobs[given]!;
    const thread = pool.reduce((least, other) => (other.waiting < least.waiting ? other : least));
    const result = thread.run(job);
    // Its failure is met when it is waited for.
    result.catch(() => undefined);
    results[given++] = result;
  };
  try {
    for (let i = 0; i < jobs.length; i++) {
      while (given < jobs.length && given < i + pool.length * AHEAD) give();
      yield await results[i]!;
      delete results[i];
    }
  } finally {
    await Promise.all(pool.map((thread) => thread.close()));
  }
}

class JobThread {
  readonly #worker: Worker;
  readonly #waiting: { resolve: (result: VerifyResult) => void; reject: (error: AuditError) => void }[] = [];

  constructor() {
    this.#worker = new Worker(beside(import.meta.url, 'verify-worker'), { name: 'changetrail-verify' });
    this.#worker.on('message', (result: VerifyResult) => this.#waiting.shift()!.resolve(revive(result)));
    this.#worker.on('error', (cause) => {
      const error = new AuditError('AUD_INTERNAL', { message: `Defect in verify: ${cause}.`, cause });
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  run(job: VerifyJob): Promise<VerifyResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(job);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Buffers arrive as plain byte arrays. */
function revive(result: VerifyResult): VerifyResult {
  if (!('peaks' in result) || result.peaks === null) return result;
  return { ...result, peaks: result.peaks.map((peak) => Buffer.from(peak)) };
}
