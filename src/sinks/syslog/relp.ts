import type net from 'node:net';
import { type Dialer, LostConnection } from './connection.ts';

/** Messages without an answer at the same time; librelp's own default. */
const WINDOW = 128;
const LAST_TRANSACTION = 999_999_999;
const OFFER = 'relp_version=0\nrelp_software=changetrail\ncommands=syslog';
/** `TXNR SP COMMAND SP DATALEN [SP DATA] LF`, the header of a frame; data are read by their length. */
const FRAME = /^(\d{1,9}) ([a-zA-Z]{1,32}) (\d{1,9})(?: |\n)/;
const LONGEST_HEADER = 64;
const MAX_ANSWER_BYTES = 64 << 10;

/** What the receiver said to a message: 200 it is taken, anything else not. */
export interface RelpAnswer {
  readonly code: number;
}

/** The receiver does not speak RELP, or said that it will not talk to us. */
export class RelpError extends Error {
  override readonly name = 'RelpError';
}

interface Frame {
  readonly transaction: number;
  readonly command: string;
  readonly data: string;
}

/**
 * A client of RELP, the Reliable Event Logging Protocol: each message is acknowledged when the receiver has it.
 * @see https://www.rsyslog.com/doc/relp.html and librelp's `doc/relp.html`
 */
export class RelpChannel {
  readonly #dialer: Dialer;
  #session: RelpSession | null = null;

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
  }

  /** The answer to each message, in order. Rejects when the connection breaks: then nothing is known of the batch. */
  async send(messages: readonly Buffer[], signal: AbortSignal): Promise<RelpAnswer[]> {
    try {
      this.#session ??= await RelpSession.open(this.#dialer, signal);
      return await this.#session.send(messages, signal);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#session?.close();
    this.#session = null;
  }
}

class RelpSession {
  readonly #socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #transaction = 0;
  #failure: Error | null = null;
  readonly #waiting = new Map<number, (frame: Frame) => void>();
  /** Told when an answer came or the session failed. */
  #wake: (() => void) | null = null;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('error', (error) => this.#fail(error));
    socket.on('end', () => this.#fail(new LostConnection()));
    socket.on('close', () => this.#fail(new LostConnection()));
  }

  static async open(dialer: Dialer, signal: AbortSignal): Promise<RelpSession> {
    const session = new RelpSession(await dialer.dial(signal));
    const [answer] = await session.#exchange([Buffer.from(OFFER)], 'open', signal);
    if (answer?.code === 200) return session;
    session.close();
    throw new RelpError(`the receiver refused the session with ${answer?.code}`);
  }

  send(messages: readonly Buffer[], signal: AbortSignal): Promise<RelpAnswer[]> {
    return this.#exchange(messages, 'syslog', signal);
  }

  /** Says goodbye without waiting for the answer: everything sent is answered or will be sent again. */
  close(): void {
    if (this.#failure === null) this.#socket.end(frame(this.#next(), 'close', Buffer.alloc(0)));
    this.#socket.destroySoon();
  }

  async #exchange(messages: readonly Buffer[], command: string, signal: AbortSignal): Promise<RelpAnswer[]> {
    const answers: RelpAnswer[] = new Array(messages.length);
    let sent = 0;
    let answered = 0;
    const abort = () => this.#fail(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    try {
      while (answered < messages.length) {
        if (this.#failure !== null) throw this.#failure;
        while (sent < messages.length && sent - answered < WINDOW) {
          const at = sent++;
          const transaction = this.#next();
          this.#waiting.set(transaction, (answer) => {
            answers[at] = { code: Number(/^\d{3}/.exec(answer.data)?.[0] ?? 0) };
            answered++;
          });
          this.#socket.write(frame(transaction, command, messages[at]!));
        }
        if (answered < messages.length) await this.#answer();
      }
      return answers;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #answer(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #next(): number {
    this.#transaction = this.#transaction === LAST_TRANSACTION ? 1 : this.#transaction + 1;
    return this.#transaction;
  }

  #receive(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    try {
      for (let got = readFrame(this.#received); got !== null; got = readFrame(this.#received)) {
        this.#received = this.#received.subarray(got.length);
        this.#handle(got.frame);
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #handle(got: Frame): void {
    if (got.command === 'serverclose') throw new LostConnection();
    const waiting = this.#waiting.get(got.transaction);
    if (got.command !== 'rsp' || waiting === undefined) throw new RelpError('the answer is not RELP');
    this.#waiting.delete(got.transaction);
    waiting(got);
    this.#wakeUp();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.destroy();
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}

function frame(transaction: number, command: string, data: Buffer): Buffer {
  const length = data.length === 0 ? '0' : `${data.length} `;
  return Buffer.concat([Buffer.from(`${transaction} ${command} ${length}`), data, Buffer.from('\n')]);
}

/** The first frame in `bytes` and its length, or null when it is not complete. Exported for its test. @throws RelpError */
export function readFrame(bytes: Buffer): { readonly frame: Frame; readonly length: number } | null {
  const head = FRAME.exec(bytes.toString('latin1', 0, LONGEST_HEADER));
  if (head === null) {
    if (
      bytes.length >= LONGEST_HEADER ||
      !/^(\d{1,9}( ([a-zA-Z]{0,32}( \d{0,9})?)?)?)?$/.test(bytes.toString('latin1'))
    ) {
      throw new RelpError('the answer is not RELP');
    }
    return null;
  }
  const [text, transaction, command, length] = head as unknown as [string, string, string, string];
  const size = Number(length);
  if (size > MAX_ANSWER_BYTES) throw new RelpError('the answer is not RELP');
  // Without data there is no space before the line feed; the pattern has then taken the line feed itself.
  const end = text.endsWith('\n') ? text.length : text.length + size + 1;
  if (text.endsWith('\n') && size !== 0) throw new RelpError('the answer is not RELP');
  if (bytes.length < end) return null;
  if (bytes[end - 1] !== 0x0a) throw new RelpError('the answer is not RELP');
  const data = text.endsWith('\n') ? '' : bytes.toString('utf8', text.length, text.length + size);
  return { frame: { transaction: Number(transaction), command, data }, length: end };
}
