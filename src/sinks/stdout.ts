import fs from 'node:fs';
import net from 'node:net';
import { z } from 'zod';
import type { CheckReport } from '../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../core/sink.ts';
import { messageOf, systemCode } from '../errors/audit-error.ts';
import { deliveryShape } from '../pipeline/delivery/options.ts';
import { type Format, formatOption } from '../record/mappings/index.ts';
import { encodeLines } from './shared/encode.ts';
import type { SinkHost } from './shared/host.ts';

/** Options of the `stdout` sink. */
export const stdoutOptions = z
  .strictObject({ type: z.literal('stdout'), format: formatOption, ...deliveryShape })
  .meta({
    description:
      'Records as NDJSON on standard output, for a pipe, a container’s log or a look. It ends with its reader.',
  });

const LIMITS: SinkLimits = {
  maxBatchRecords: null,
  maxBatchBytes: 256 << 10,
  maxRecordBytes: null,
  maxAgeMs: 0,
  maxInFlight: 1,
};

/**
 * Records as NDJSON on standard output. A record counts as delivered when the operating system took it: what a reader of
 * the pipe does with it is not known. A slow reader makes the sink wait and nothing else.
 */
export function createStdoutSink({ format }: z.infer<typeof stdoutOptions>, _host: SinkHost): Sink {
  return new DescriptorSink(1, format);
}

/** Writes to an open file descriptor: a pipe, a socket, a terminal or a file. Exported for its test. */
export class DescriptorSink implements Sink {
  readonly limits = LIMITS;
  readonly #fd: number;
  readonly #format: Format;
  readonly #stream: net.Socket | null;
  #error: unknown = null;
  /** Bytes written of what comes next: not 0 after a write that a full disk cut. */
  #ahead = 0;

  constructor(fd: number, format: Format = 'native') {
    this.#fd = fd;
    this.#format = format;
    this.#stream = openStream(fd);
    this.#stream?.on('error', (error) => {
      this.#error = error;
    });
  }

  async check(): Promise<CheckReport> {
    return { items: [{ name: 'stdout', level: 'ok', detail: 'Standard output is open.' }] };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    try {
      if (this.#error !== null) throw this.#error;
      const { bytes } = encodeLines(batch, this.#format);
      if (this.#stream === null) await this.#writeFile(bytes);
      else await this.#writeStream(this.#stream, bytes, signal);
      return { outcome: 'accepted' };
    } catch (error) {
      return classifyWriteError(error);
    }
  }

  async close(): Promise<void> {
    this.#stream?.destroy();
  }

  #writeStream(stream: net.Socket, bytes: Buffer, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      stream.write(bytes, (error) => {
        signal.removeEventListener('abort', abort);
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /**
   * After a failure in the middle (a full disk) it goes on where it stopped, so that no line is torn. The same records come
   * again, perhaps in smaller batches.
   */
  async #writeFile(bytes: Buffer): Promise<void> {
    while (this.#ahead < bytes.length) this.#ahead += await write(this.#fd, bytes, this.#ahead);
    this.#ahead -= bytes.length;
  }
}

function write(fd: number, bytes: Buffer, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, written) =>
      error ? reject(error) : resolve(written),
    );
  });
}

/** A stream for what can block (a pipe, a socket); null for a file or terminal, which are written directly. */
function openStream(fd: number): net.Socket | null {
  const stat = fs.fstatSync(fd);
  if (stat.isFIFO()) return new net.Socket({ fd: reopen(fd), readable: false, writable: true });
  if (stat.isSocket()) return new net.Socket({ fd, readable: false, writable: true });
  return null;
}

/** The same pipe opened anew, so that its non-blocking mode is not forced on the programs that share ours. */
function reopen(fd: number): number {
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    return fd;
  }
}

/** What an error of a write means; exported for its test. */
export function classifyWriteError(error: unknown): Delivery {
  const code = systemCode(error) ?? '';
  if (code === 'EPIPE' || code === 'ECONNRESET' || code === 'ERR_STREAM_DESTROYED' || code === 'EBADF') {
    return { outcome: 'closed', reason: 'the reader of standard output is gone' };
  }
  return { outcome: 'unavailable', reason: code === '' ? messageOf(error) : code };
}
