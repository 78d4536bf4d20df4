/** Counters of one sink, kept by its delivery; read by `status` and the metrics page. */
export interface SinkMetrics {
  state: 'starting' | 'running' | 'down' | 'stopped' | 'failed';
  /** Records the receiver took; each part of a split one counts. */
  records: number;
  bytes: number;
  batches: number;
  /** Requests that had to be made again. */
  retries: number;
  /** Records left out by the filter. */
  filtered: number;
  /** Records on which the filter's expression failed; they are sent. */
  filterErrors: number;
  /** Records that were sent in parts or with values replaced. */
  reduced: number;
  deadLetters: number;
  /** Records that retention removed from the ledger before they were delivered. */
  removed: number;
  inFlight: number;
  /** The last answer that was not "accepted", or null. Kept after the receiver recovered. */
  lastError: string | null;
  lastErrorAt: string | null;
  /** Since when the receiver takes nothing, in milliseconds since 1970; null when it does. */
  downSince: number | null;
}

export function sinkMetrics(): SinkMetrics {
  return {
    state: 'starting',
    records: 0,
    bytes: 0,
    batches: 0,
    retries: 0,
    filtered: 0,
    filterErrors: 0,
    reduced: 0,
    deadLetters: 0,
    removed: 0,
    inFlight: 0,
    lastError: null,
    lastErrorAt: null,
    downSince: null,
  };
}

/** What `status` shows of a sink; also what its cursor file holds beside the cursor. */
export interface SinkStatus extends Readonly<SinkMetrics> {
  readonly name: string;
  /** Index of the first record that is not known to be durable at the receiver. */
  readonly cursor: number;
  readonly lagRecords: number;
  /** Age of the oldest record that is not delivered, in milliseconds; 0 when there is none. */
  readonly lagMs: number;
}
