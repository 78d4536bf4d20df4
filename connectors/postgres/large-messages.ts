// Large messages put together once, in front of the driver's own framing.

/** Code and length stand before every message of the protocol. */
const HEADER_BYTES = 5;
/** Messages below this are the driver's business. */
const LARGE_BYTES = 1 << 20;

/**
 * Hands on what a socket gives, with each large message in one piece of its own. The driver's buffer would double while such
 * a message comes in, so that 200 MB need 400 MB for a moment, and it would keep what it has grown to; here the length of the
 * message is known from its header, and its memory is given back as soon as it was handed on.
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class LargeMessages {
  readonly #deliver: (chunk: Buffer) => void;
  /** The large message that is coming in, and how much of it is there. */
  #message: Buffer | null = null;
  #have = 0;
  /** Bytes still to come of a small message. */
  #rest = 0;
  /** The start of a header. */
  #header: Buffer | null = null;

  /** `deliver` must not keep a chunk longer than the call; neither may who calls `push`. */
  constructor(deliver: (chunk: Buffer) => void) {
    this.#deliver = deliver;
  }

  push(bytes: Buffer): void {
    let chunk = bytes;
    if (this.#header !== null) {
      chunk = Buffer.concat([this.#header, bytes]);
      this.#header = null;
    }
    const start = this.#message === null ? 0 : this.#fill(chunk, 0);
    let at = start + this.#rest;
    while (at < chunk.length) {
      if (at + HEADER_BYTES > chunk.length) {
        this.#header = Buffer.from(chunk.subarray(at));
        break;
      }
      const size = 1 + chunk.readUInt32BE(at + 1);
      if (size >= LARGE_BYTES && at + size > chunk.length) {
        if (at > start) this.#deliver(chunk.subarray(start, at));
        this.#message = Buffer.allocUnsafeSlow(size);
        this.#have = 0;
        this.#rest = 0;
        this.#fill(chunk, at);
        return;
      }
      at += size;
    }
    const end = Math.min(at, chunk.length);
    this.#rest = at - end;
    if (end > start) this.#deliver(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end));
  }

  /** Adds to the large message; when it is whole it is handed on. Returns the place behind what was taken. */
  #fill(chunk: Buffer, from: number): number {
    const message = this.#message!;
    const end = Math.min(chunk.length, from + message.length - this.#have);
    chunk.copy(message, this.#have, from, end);
    this.#have += end - from;
    if (this.#have < message.length) return end;
    this.#message = null;
    this.#deliver(message);
    giveBack(message);
    return end;
  }
}

/** Frees the memory behind a buffer that nobody needs any more: the garbage collector sees only a small object. */
function giveBack(bytes: Buffer): void {
  if (bytes.buffer.byteLength === bytes.length) (bytes.buffer as ArrayBuffer).transfer(0);
}
