// Retention and compression of closed segments, now and then, one thing at a time.
import type { ControlRecord } from '../core/output.ts';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import type { Logger } from '../telemetry/log.ts';
import { compressSegment } from './compress.ts';
import type { IntegrityOptions } from './integrity-options.ts';
import { listSegments } from './layout.ts';
import { findExpired, pruneRecord, removeSegments } from './retention.ts';
import type { LedgerTree } from './tree.ts';
import type { LedgerWriter } from './writer.ts';

const INTERVAL_MS = 60_000;

export interface MaintenanceOptions {
  readonly segments: string;
  readonly writer: LedgerWriter;
  readonly tree: LedgerTree;
  readonly options: Pick<IntegrityOptions, 'retention' | 'holds' | 'compress'>;
  readonly log: Logger;
  control(record: ControlRecord): void;
  now(): number;
}

export class Maintenance {
  readonly #plan: MaintenanceOptions;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(plan: MaintenanceOptions) {
    this.#plan = plan;
  }

  start(): void {
    const { retention, compress } = this.#plan.options;
    if (retention === undefined && compress === 'none') return;
    void this.run();
    this.#timer = setInterval(() => void this.run(), INTERVAL_MS);
  }

  /** One round; a failure is logged and left to the next. */
  run(): Promise<void> {
    this.#running ??= this.#round().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #round(): Promise<void> {
    try {
      await this.#prune();
      await this.#compress();
    } catch (error) {
      if (this.#closed) return;
      const known = error instanceof AuditError;
      this.#plan.log.error(
        { event: 'maintenance_failed', code: known ? error.code : 'AUD_INTERNAL' },
        `Retention or compression of the ledger failed: ${messageOf(error)}`,
      );
    }
  }

  /** The record first, under a published head; then the tiles must be durable; only then do the segments go. */
  async #prune(): Promise<void> {
    const { options, segments, tree, writer, log, now } = this.#plan;
    const head = tree.head();
    if (options.retention === undefined || head === null) return;
    const holds = options.holds.map(({ matter, from, to }) => ({
      matter,
      from: from ?? Number.NEGATIVE_INFINITY,
      to: to ?? Number.POSITIVE_INFINITY,
    }));
    const expired = findExpired(segments, now() - options.retention, head.size, holds);
    if (expired === null) return;
    const index = writer.next;
    this.#plan.control(pruneRecord(expired, head, options.retention));
    await writer.flushed(index + 1);
    await tree.published(index);
    await tree.makeDurable();
    if (this.#closed) return;
    removeSegments(expired);
    const { from, to, newest } = expired;
    log.info(
      { event: 'retention', from, to, newest },
      `Removed records ${from} to ${to - 1}, captured until ${newest}, as the retention says.`,
    );
  }

  async #compress(): Promise<void> {
    const { options, segments, tree, log } = this.#plan;
    if (options.compress === 'none') return;
    const all = listSegments(segments);
    for (const [i, segment] of all.slice(0, -1).entries()) {
      if (this.#closed || all[i + 1]!.first > (tree.head()?.size ?? 0)) return;
      if (segment.compressed) continue;
      await compressSegment(segment);
      log.debug({ event: 'segment_compressed', first: segment.first }, `Compressed segment ${segment.first}.`);
    }
  }

  /** Waits for what is being done. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#running;
  }
}
