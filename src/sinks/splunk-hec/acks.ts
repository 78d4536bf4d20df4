import { jsonBody } from '../shared/classify.ts';
import { type HttpClient, NoAnswer } from '../shared/http.ts';

const FIRST_POLL_MS = 100;
const SLOWEST_POLL_MS = 2_000;

interface Waiter {
  readonly deadline: number;
  readonly resolve: (acknowledged: boolean) => void;
}

/** Asks the indexers until they say that events are written; all requests of a sink share one poll. */
export class AckPoller {
  readonly #client: HttpClient;
  readonly #channel: string;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, Waiter>();
  readonly #closed = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #pauseMs = FIRST_POLL_MS;

  constructor(client: HttpClient, channel: string, timeoutMs: number) {
    this.#client = client;
    this.#channel = channel;
    this.#timeoutMs = timeoutMs;
  }

  /** True once the indexers have the request's events on disk, false after the timeout, at an abort or a close. */
  acknowledged(ackId: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (acknowledged: boolean) => {
        this.#waiting.delete(ackId);
        signal.removeEventListener('abort', give);
        resolve(acknowledged);
      };
      const give = () => settle(false);
      if (signal.aborted || this.#closed.signal.aborted) return give();
      signal.addEventListener('abort', give, { once: true });
      // An id that comes twice belongs to a restarted indexer: nobody will answer for the older one.
      this.#waiting.get(ackId)?.resolve(false);
      this.#waiting.set(ackId, { deadline: Date.now() + this.#timeoutMs, resolve: settle });
      this.#pauseMs = FIRST_POLL_MS;
      this.#schedule();
    });
  }

  close(): void {
    this.#closed.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const { resolve } of [...this.#waiting.values()]) resolve(false);
  }

  #schedule(): void {
    if (this.#timer !== null || this.#waiting.size === 0 || this.#closed.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#poll(), this.#pauseMs);
    this.#pauseMs = Math.min(SLOWEST_POLL_MS, this.#pauseMs * 1.5);
  }

  async #poll(): Promise<void> {
    const asked = [...this.#waiting.keys()];
    const answers = await this.#ask(asked);
    for (const id of asked) {
      const waiter = this.#waiting.get(id);
      if (answers[String(id)] === true) waiter?.resolve(true);
      else if (waiter !== undefined && Date.now() > waiter.deadline) waiter.resolve(false);
    }
    this.#timer = null;
    this.#schedule();
  }

  async #ask(acks: readonly number[]): Promise<Readonly<Record<string, unknown>>> {
    try {
      const answer = await this.#client.request(
        {
          method: 'POST',
          path: `/services/collector/ack?channel=${this.#channel}`,
          body: Buffer.from(JSON.stringify({ acks })),
          compress: false,
        },
        this.#closed.signal,
      );
      if (answer instanceof NoAnswer || answer.status !== 200) return {};
      const said = jsonBody(answer)?.['acks'];
      return typeof said === 'object' && said !== null ? (said as Record<string, unknown>) : {};
    } catch {
      // Closed while asking.
      return {};
    }
  }
}
