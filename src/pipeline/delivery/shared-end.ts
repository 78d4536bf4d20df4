import type { LedgerTail } from '../../ledger/reader.ts';
import type { DurableEnd } from '../../ledger/writer.ts';

const SEQUENCE = 0;
const NEXT = 1;
const SEGMENT = 2;
const OFFSET = 3;
const WORDS = 4;

/** The place in memory through which threads see how far the ledger is durable. One thread writes, any number read. */
export type SharedEndBuffer = SharedArrayBuffer;

/** The writing side: the thread that holds the ledger. */
export class SharedEndWriter {
  readonly buffer: SharedEndBuffer = new SharedArrayBuffer(WORDS * BigInt64Array.BYTES_PER_ELEMENT);
  readonly #words = new BigInt64Array(this.buffer);

  constructor(end: DurableEnd) {
    this.set(end);
  }

  /** Cheap enough for each sync: no message is sent, waiting threads are woken. */
  set(end: DurableEnd): void {
    const words = this.#words;
    // Odd while the three numbers are being written: a reader that sees it looks again.
    Atomics.add(words, SEQUENCE, 1n);
    Atomics.store(words, NEXT, BigInt(end.next));
    Atomics.store(words, SEGMENT, BigInt(end.segment));
    Atomics.store(words, OFFSET, BigInt(end.offset));
    Atomics.add(words, SEQUENCE, 1n);
    Atomics.notify(words, SEQUENCE);
  }
}

/** The reading side: the tail of the ledger for a reader in another thread. */
export class SharedEndTail implements LedgerTail {
  readonly #words: BigInt64Array;
  /** The sequence of the end that was last read: a change after it ends the wait, also one that came before the wait began. */
  #seen = 0n;

  constructor(buffer: SharedEndBuffer) {
    this.#words = new BigInt64Array(buffer);
  }

  get end(): DurableEnd {
    const words = this.#words;
    for (;;) {
      const before = Atomics.load(words, SEQUENCE);
      const next = Number(Atomics.load(words, NEXT));
      const segment = Number(Atomics.load(words, SEGMENT));
      const offset = Number(Atomics.load(words, OFFSET));
      if (before % 2n !== 0n || Atomics.load(words, SEQUENCE) !== before) continue;
      this.#seen = before;
      return { next, segment, offset };
    }
  }

  changed(signal: AbortSignal | undefined): Promise<void> {
    const waiting = Atomics.waitAsync(this.#words, SEQUENCE, this.#seen);
    if (!waiting.async || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        signal?.removeEventListener('abort', done);
        resolve();
      };
      signal?.addEventListener('abort', done, { once: true });
      waiting.value.then(done);
    });
  }
}
