import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../src/core/sink.ts';

const LIMITS: SinkLimits = {
  maxBatchRecords: 100,
  maxBatchBytes: 1 << 20,
  maxRecordBytes: null,
  maxAgeMs: 0,
  maxInFlight: 1,
};

/** What the script is asked: the ids of a batch, and the count of deliveries before. */
export type Script = (ids: readonly string[], call: number, signal: AbortSignal) => Delivery | Promise<Delivery>;

/** A sink without a network whose answers a test says; it keeps what it took. */
export class ScriptedSink implements Sink {
  readonly limits: SinkLimits;
  /** Ids of each delivery. */
  readonly calls: string[][] = [];
  /** Ids taken, in order. */
  readonly taken: string[] = [];
  closed = 0;
  readonly #script: Script;

  constructor(script: Script, limits: Partial<SinkLimits> = {}) {
    this.#script = script;
    this.limits = { ...LIMITS, ...limits };
  }

  async check() {
    return { items: [] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const ids = idsOf(batch);
    const call = this.calls.push(ids) - 1;
    const answer = await this.#script(ids, call, signal);
    const failed = answer.outcome === 'partial' ? new Set(answer.failed.map(({ at }) => at)) : null;
    if (answer.outcome === 'accepted') this.taken.push(...ids);
    else if (failed !== null) this.taken.push(...ids.filter((_, at) => !failed.has(at)));
    return answer;
  }

  async close() {
    this.closed++;
  }
}

function idsOf({ bytes }: RecordBatch): string[] {
  return bytes
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { id: string }).id);
}
