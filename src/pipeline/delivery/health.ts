import type { Logger } from '../../telemetry/log.ts';
import { adviceFor } from './advice.ts';
import type { SinkMetrics } from './metrics.ts';

/** Keeps a receiver's state, and says once that it is down and once that it takes records again. */
export class Health {
  readonly #log: Logger;
  readonly #metrics: SinkMetrics;
  readonly #onChange: () => void;

  constructor(log: Logger, metrics: SinkMetrics, onChange: () => void) {
    this.#log = log;
    this.#metrics = metrics;
    this.#onChange = onChange;
  }

  /** The receiver took nothing of a request; `reason` never holds a record's values. */
  failed(reason: string): void {
    const metrics = this.#metrics;
    metrics.lastError = reason;
    metrics.lastErrorAt = new Date().toISOString();
    if (metrics.downSince === null) {
      metrics.downSince = Date.now();
      metrics.state = 'down';
      this.#log.warn(
        { event: 'sink_down', reason, action: `${adviceFor(reason)} Nothing is lost: it is tried until it succeeds.` },
        `The receiver takes no records: ${reason}.`,
      );
    } else {
      this.#log.debug({ event: 'sink_retry', reason }, 'The receiver still takes no records.');
    }
    this.#onChange();
  }

  /** The receiver took records. */
  succeeded(): void {
    const metrics = this.#metrics;
    if (metrics.downSince !== null) {
      const seconds = Math.round((Date.now() - metrics.downSince) / 1000);
      this.#log.info({ event: 'sink_up', seconds }, `The receiver takes records again, after ${seconds} s.`);
      metrics.downSince = null;
    }
    metrics.state = 'running';
  }
}
