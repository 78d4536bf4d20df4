// Cuts the replication connection into messages, in front of the driver's own parser: WAL data goes straight to the decoder.

/** Code and length stand before every message of the protocol. */
const HEADER_BYTES = 5;
const COPY_DATA = 0x64; // d
const XLOG_DATA = 0x77; // w
/** Behind the header of a CopyData: `w`, the place in the WAL, the end of the WAL and the server's clock. */
const XLOG_DATA_BYTES = 25;

export interface MessageReceiver {
  /** One message of the output plugin is `bytes[start, end)`. The bytes are valid during the call only. */
  wal(bytes: Buffer, start: number, end: number): void;
  /** Other messages, whole, one or more, for the driver. Valid during the call only. */
  other(messages: Buffer): void;
}

/**
 * Hands on the messages of a socket in their order, each of them whole. The driver would make an object, two buffers and three
 * events of each change, which cost more than decoding it (docs/adr/0007); and its buffer doubles while a large message comes
 * in and keeps what it has grown to. Here a message that came in pieces is put together once, in memory of its own size that
 * is given back as soon as it was handed on.
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 * @see https://www.postgresql.org/docs/current/protocol-replication.html (XLogData)
 */
export class MessageFraming {
  readonly #receiver: MessageReceiver;
  /** The message that is coming in, of which only the header may be there yet, and how much of it is there. */
  #message: Buffer | null = null;
  #have = 0;

  constructor(receiver: MessageReceiver) {
    this.#receiver = receiver;
  }

  /** Takes what the socket read. The chunk is not kept. */
  push(chunk: Buffer): void {
    let at = 0;
    while (this.#message !== null && at < chunk.length) at = this.#fill(this.#message, chunk, at);
    at = this.#handOn(chunk, at);
    if (at < chunk.length) this.#keep(chunk, at);
  }

  /** Hands on the whole messages from `from` on and returns the place behind them. */
  #handOn(chunk: Buffer, from: number): number {
    const receiver = this.#receiver;
    let others = from;
    let at = from;
    while (at + HEADER_BYTES <= chunk.length) {
      const end = at + sizeAt(chunk, at);
      if (end > chunk.length) break;
      if (chunk[at] === COPY_DATA && chunk[at + HEADER_BYTES] === XLOG_DATA) {
        if (at > others) receiver.other(chunk.subarray(others, at));
        receiver.wal(chunk, at + HEADER_BYTES + XLOG_DATA_BYTES, end);
        others = end;
      }
      at = end;
    }
    if (at > others) receiver.other(chunk.subarray(others, at));
    return at;
  }

  /** The beginning of a message: room for all of it, or for its header while that is not whole. */
  #keep(chunk: Buffer, at: number): void {
    const header = at + HEADER_BYTES <= chunk.length;
    this.#message = Buffer.allocUnsafe(header ? sizeAt(chunk, at) : HEADER_BYTES);
    this.#have = chunk.copy(this.#message, 0, at);
  }

  /** Adds to the message that is coming in; hands it on when it is whole. Returns the place behind what was taken. */
  #fill(message: Buffer, chunk: Buffer, from: number): number {
    const end = Math.min(chunk.length, from + message.length - this.#have);
    this.#have += chunk.copy(message, this.#have, from, end);
    if (this.#have < message.length) return end;
    const size = sizeAt(message, 0);
    if (size > message.length) {
      // Only its header was there.
      this.#message = Buffer.allocUnsafe(size);
      message.copy(this.#message);
      return end;
    }
    this.#message = null;
    this.#handOn(message, 0);
    giveBack(message);
    return end;
  }
}

/** Bytes of the message at `at`, with its header. */
function sizeAt(bytes: Buffer, at: number): number {
  return 1 + bytes.readUInt32BE(at + 1);
}

/** Frees the memory behind a buffer that nobody needs any more: the garbage collector sees only a small object. */
function giveBack(bytes: Buffer): void {
  if (bytes.buffer.byteLength === bytes.length) (bytes.buffer as ArrayBuffer).transfer(0);
}
