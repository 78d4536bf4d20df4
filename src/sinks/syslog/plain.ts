import type net from 'node:net';
import { type Dialer, LostConnection } from './connection.ts';

/** Sends batches as they are, over TCP or TLS. */
export class PlainChannel {
  readonly #dialer: Dialer;
  readonly #confirm: boolean;
  #kept: net.Socket | null = null;

  constructor(dialer: Dialer, confirm: boolean) {
    this.#dialer = dialer;
    this.#confirm = confirm;
  }

  /**
   * Resolves when the receiver has read all of it and ended the connection, or, without confirmation, when the operating
   * system has taken it. Rejects with the socket's error, or the signal's reason.
   */
  async send(bytes: Buffer, signal: AbortSignal): Promise<void> {
    const dialled = performance.now();
    const socket = await this.#socket(signal);
    try {
      // Dialling took at least one round trip.
      const roundTripMs = performance.now() - dialled;
      await (this.#confirm ? exchange(socket, bytes, roundTripMs, signal) : write(socket, bytes, signal));
    } catch (error) {
      socket.destroy();
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#kept?.destroy();
    this.#kept = null;
  }

  async #socket(signal: AbortSignal): Promise<net.Socket> {
    if (this.#confirm) return this.#dialer.open(signal);
    if (this.#kept === null || this.#kept.destroyed || !this.#kept.writable) {
      this.#kept = await this.#dialer.dial(signal);
      this.#kept.on('error', () => undefined).on('end', () => this.close());
      this.#kept.resume();
    }
    return this.#kept;
  }
}

/** Least time between the last byte and our end, in milliseconds. */
const LEAST_PAUSE_MS = 20;

/**
 * Writes all, ends our side and waits for the end of the receiver's. Between the two passes a round trip: a receiver that
 * went away before it had all shows by then, so that an end that comes after ours is the answer to it.
 */
async function exchange(socket: net.Socket, bytes: Buffer, roundTripMs: number, signal: AbortSignal): Promise<void> {
  const ended = Promise.withResolvers<void>();
  let ending = false;
  socket.on('error', (error) => ended.reject(signal.aborted ? signal.reason : error));
  socket.on('close', () => ended.reject(signal.aborted ? signal.reason : new LostConnection()));
  socket.on('end', () => (ending ? ended.resolve() : ended.reject(new LostConnection())));
  // Syslog has no answers: whoever says something is not a syslog receiver.
  socket.on('data', () => ended.reject(new NotSyslog()));
  // Behind an immediate: an end that has arrived is seen before ours is sent, however late the timer is.
  const end = () => {
    ending = true;
    socket.end();
  };
  socket.write(bytes, () => {
    setTimeout(() => setImmediate(end), Math.max(LEAST_PAUSE_MS, roundTripMs));
  });
  try {
    await ended.promise;
  } finally {
    socket.destroy();
  }
}

/** What answers on the port is something else. */
class NotSyslog extends Error {
  override readonly name = 'NotSyslog';

  constructor() {
    super('it answers, which a syslog receiver does not');
  }
}

function write(socket: net.Socket, bytes: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    const closed = () => reject(new LostConnection());
    signal.addEventListener('abort', abort, { once: true });
    socket.once('close', closed);
    socket.write(bytes, (error) => {
      signal.removeEventListener('abort', abort);
      socket.removeListener('close', closed);
      if (error) reject(error);
      else resolve();
    });
  });
}
