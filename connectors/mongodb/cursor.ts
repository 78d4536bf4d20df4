// A change stream's cursor driven by hand: raw replies, so that no event becomes an object.
import { type ClientSession, type Db, type Document, Long, type MongoClient } from 'mongodb';
import { findElement, malformed, newElement, readElement, stringAt } from './bson/layout.ts';

/** How long the server waits for an event before it answers with none. */
const AWAIT_MS = 1_000;

/** One reply of the server. */
export interface RawBatch {
  readonly bytes: Buffer;
  /** Where each event's document starts in `bytes`. */
  readonly events: readonly number[];
  /** Everything before this token's place has been delivered. */
  readonly token: string;
}

export interface CursorOptions {
  readonly client: MongoClient;
  readonly database: string;
  readonly pipeline: readonly Document[];
  readonly batchSize: number;
  readonly signal: AbortSignal;
}

export class RawCursor {
  readonly #db: Db;
  readonly #session: ClientSession;
  readonly #batchSize: number;
  readonly #signal: AbortSignal;
  #id = 0n;
  #first: RawBatch | null = null;

  private constructor(options: CursorOptions) {
    this.#db = options.client.db(options.database);
    this.#session = options.client.startSession();
    this.#batchSize = options.batchSize;
    this.#signal = options.signal;
  }

  /** Opens the stream. @throws what the driver throws. */
  static async open(options: CursorOptions): Promise<RawCursor> {
    const cursor = new RawCursor(options);
    try {
      cursor.#first = await cursor.#command(
        { aggregate: 1, pipeline: options.pipeline, cursor: { batchSize: options.batchSize } },
        'firstBatch',
      );
      return cursor;
    } catch (error) {
      await cursor.close();
      throw error;
    }
  }

  /** True when the server has closed the cursor: nothing comes any more. */
  get ended(): boolean {
    return this.#id === 0n && this.#first === null;
  }

  /** The next reply; at most one call at a time. It has no events when none came in time. */
  async next(): Promise<RawBatch> {
    if (this.#first !== null) {
      const first = this.#first;
      this.#first = null;
      return first;
    }
    const getMore = {
      getMore: Long.fromBigInt(this.#id),
      collection: '$cmd.aggregate',
      batchSize: this.#batchSize,
      maxTimeMS: AWAIT_MS,
    };
    return this.#command(getMore, 'nextBatch');
  }

  /** Idempotent; the server is told, as far as it can be reached. */
  async close(): Promise<void> {
    const id = this.#id;
    this.#id = 0n;
    try {
      if (id !== 0n && !this.#signal.aborted) {
        await this.#db.command(
          { killCursors: '$cmd.aggregate', cursors: [Long.fromBigInt(id)] },
          { session: this.#session },
        );
      }
    } catch {
      // The server forgets idle cursors by itself.
    }
    await this.#session.endSession().catch(() => undefined);
  }

  async #command(command: Document, field: 'firstBatch' | 'nextBatch'): Promise<RawBatch> {
    const reply = await this.#db.command(command, {
      raw: true,
      session: this.#session,
      readPreference: 'primary',
      signal: this.#signal,
    });
    const bytes = asBuffer(reply['cursor']);
    const id = findElement(bytes, 0, 'id');
    const array = findElement(bytes, 0, field);
    const token = findElement(bytes, 0, 'postBatchResumeToken');
    if (id === null || array === null || token === null) throw malformed();
    this.#id = bytes.readBigInt64LE(id.at);
    return { bytes, events: documentsOf(bytes, array.at), token: tokenText(bytes, token.at) };
  }
}

/** Raw replies of any cursor command, for queries whose rows are not worth an object each. */
export async function rawFind(db: Db, command: Document, signal: AbortSignal): Promise<RawBatch[]> {
  const session = db.client.startSession();
  const options = { raw: true, session, readPreference: 'primary', signal } as const;
  try {
    const batches: RawBatch[] = [];
    let reply = await db.command(command, options);
    for (let field = 'firstBatch'; ; field = 'nextBatch') {
      const bytes = asBuffer(reply['cursor']);
      const array = findElement(bytes, 0, field);
      const id = findElement(bytes, 0, 'id');
      if (array === null || id === null) throw malformed();
      batches.push({ bytes, events: documentsOf(bytes, array.at), token: '' });
      const next = bytes.readBigInt64LE(id.at);
      if (next === 0n) return batches;
      reply = await db.command({ getMore: Long.fromBigInt(next), collection: command['find'] }, options);
    }
  } finally {
    await session.endSession().catch(() => undefined);
  }
}

function asBuffer(value: unknown): Buffer {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw malformed();
}

function documentsOf(bytes: Buffer, array: number): number[] {
  const places: number[] = [];
  const element = newElement();
  for (let at = array + 4; readElement(bytes, at, element); at = element.next) places.push(element.at);
  return places;
}

function tokenText(bytes: Buffer, document: number): string {
  const data = findElement(bytes, document, '_data');
  if (data === null) throw malformed();
  return stringAt(bytes, data.at);
}
