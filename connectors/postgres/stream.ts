// The replication stream: from the server's messages to the decoder, from confirmations back to the server. Policy (what to do
// when it ends) is the connector's and the pipeline's.
import type { Socket } from 'node:net';
import type pg from 'pg';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';
import type { SourceMetrics, SourceStream, StreamProgress } from '../../src/core/connector.ts';
import type { Position, SourceOutput } from '../../src/core/output.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import { quoteIdent } from './client.ts';
import type { PgoutputDecoder } from './decode/pgoutput.ts';
import type { RelationMessage } from './decode/relation.ts';
import { postgresError } from './errors.ts';
import { MessageFraming } from './framing.ts';
import { formatLsn, POSTGRES_EPOCH_MICROS, parseLsn } from './lsn.ts';
import { type ReplicationSocket, replicationSocket } from './replication-socket.ts';

/** Confirmations are gathered: each costs the server a wake-up, and now and then a write of its slot. */
const CONFIRM_MS = 100;
/** How often the server hears of us, also when there is nothing to confirm; well below any sensible wal_sender_timeout. */
const STATUS_MS = 10_000;
/** The server answers a status that asks for it; silence for this long means the connection is dead. */
const SILENCE_MS = 60_000;
/**
 * Under load the socket rests this long after it gave little, so that it gives much the next time. The server sends each message
 * with a call of its own and every read wakes it: with few large reads it spends its core on decoding (bench/RESULTS.md).
 */
const GATHER_MS = 2;
/** Load: as many bytes in one window. Below it, latency counts more than throughput. */
const GATHER_WINDOW_MS = 10;
const GATHER_WINDOW_BYTES = 128 << 10;
/** As much in one turn of the event loop is much: the kernel had gathered, and may have more. */
const MUCH_BYTES = 48 << 10;

/** How long a stop waits for the last records to become durable and be confirmed. */
const SETTLE_MS = 5_000;
const END_MS = 2_000;

export interface StreamOptions {
  readonly name: string;
  readonly client: pg.ClientConfig;
  readonly slot: string;
  readonly publications: readonly string[];
  /** Where to start; the server starts later when the slot stands later. */
  readonly from: bigint;
  readonly decoder: PgoutputDecoder;
  /** The database has no encoding (SQL_ASCII): its bytes are to come as they are, or the server refuses those that are no UTF-8. */
  readonly rawText: boolean;
  readonly output: SourceOutput;
  readonly metrics: SourceMetrics;
  /** Looks a relation up and compiles it before the next message is decoded. */
  describe(message: RelationMessage): Promise<void>;
  /** Work beside the stream (looks at tables and slot); its failure ends the stream. */
  watch(signal: AbortSignal): Promise<void>;
  /** Told of the failure that ends the stream. */
  failed(error: AuditError): void;
  now(): number;
}

/**
 * What the package starts for us. It does connection, authentication, TLS and keepalives; changes go to our decoder before
 * they come to it (docs/adr/0007), so its `parse` is never asked.
 */
class RawPlugin extends PgoutputPlugin {
  readonly #start: (client: pg.Client, lsn: string) => Promise<unknown>;

  constructor(start: (client: pg.Client, lsn: string) => Promise<unknown>) {
    super({ protoVersion: 1, publicationNames: [] });
    this.#start = start;
  }

  override async start(client: pg.Client, _slot: string, lsn: string): Promise<void> {
    await this.#start(client, lsn);
  }
}

/** What `pg` has below its types. */
interface ReplicationConnection {
  readonly stream: Socket;
  on(event: 'error', listener: () => void): void;
  sendCopyFromChunk(chunk: Buffer): void;
}

export class PostgresStream implements SourceStream {
  readonly #options: StreamOptions;
  readonly #service: LogicalReplicationService;
  /** Null with TLS, which reads for itself. */
  readonly #socket: ReplicationSocket | null;
  #connection: ReplicationConnection | null = null;
  /** Messages that arrived while a relation is looked up. */
  #held: Buffer[] | null = null;
  #paused = false;
  /** Somebody waits for room in the output already. */
  #waiting = false;
  #stopping = false;
  /** Where a message begins is not known any more: what still comes cannot be read. */
  #lostPlace = false;
  #confirmed: bigint;
  #reached: bigint;
  #receivedAt: number;
  #confirmTimer: NodeJS.Timeout | null = null;
  #windowStart = 0;
  #windowBytes = 0;
  /** Bytes read in this turn of the event loop; with TLS in many pieces. */
  #turnBytes = 0;
  /** What earlier streams of this process have counted. */
  readonly #before: { readonly changes: number; readonly transactions: number };
  #finish!: (error: AuditError | null) => void;
  readonly #finished: Promise<AuditError | null>;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#confirmed = options.from;
    this.#reached = options.from;
    this.#receivedAt = options.now();
    this.#before = { changes: options.metrics.changes, transactions: options.metrics.transactions };
    const socket = options.client.ssl ? null : replicationSocket();
    this.#socket = socket;
    // auto and timeoutSeconds off: the package would acknowledge what was received, not what is durable.
    this.#service = new LogicalReplicationService(
      socket === null ? options.client : { ...options.client, stream: () => socket.socket },
      { acknowledge: { auto: false, timeoutSeconds: 0 } },
    );
    this.#finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { name, watch } = this.#options;
    const fail = (cause: unknown) => this.#finish(postgresError(cause, name));
    const stop = () => this.#finish(null);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const ended = new AbortController();
    const status = setInterval(() => this.#keepAlive(), STATUS_MS);
    this.#service.on('error', fail);
    this.#service.on('heartbeat', (lsn: string, _time: number, respond: boolean) => this.#heartbeat(lsn, respond));
    this.#service
      .subscribe(this.#plugin(), this.#options.slot, formatLsn(this.#options.from))
      .then(() => fail(connectionEnded()), fail);
    watch(ended.signal).catch(fail);
    const error = await this.#finished;
    this.#stopping = true;
    ended.abort();
    if (error === null) await this.#settle();
    clearInterval(status);
    signal.removeEventListener('abort', stop);
    await this.#close();
    if (error === null) return;
    this.#options.failed(error);
    throw error;
  }

  confirm(position: Position, saved: boolean): void {
    // Of a transaction the ledger tells the commit's LSN, the position file also where it ends.
    this.#measure();
    const [commit, end] = position.split(' ');
    const lsn = parseLsn(saved ? (end ?? commit!) : commit!);
    if (lsn <= this.#confirmed) return;
    this.#confirmed = lsn;
    if (saved) this.#sendStatus(false);
    else this.#confirmTimer ??= setTimeout(() => this.#sendStatus(false), CONFIRM_MS);
  }

  #measure(): void {
    const { metrics, decoder, now } = this.#options;
    metrics.changes = this.#before.changes + decoder.changes;
    metrics.transactions = this.#before.transactions + decoder.transactions;
    if (decoder.commitMs > 0) metrics.lagMs = Math.max(0, now() - decoder.commitMs);
  }

  progress(): StreamProgress {
    const { decoder } = this.#options;
    const tables: Record<string, number> = {};
    for (const relation of decoder.relations.values()) {
      if (relation.count === 0) continue;
      const table = `${relation.schema}.${relation.table}`;
      tables[table] = (tables[table] ?? 0) + relation.count;
    }
    const reached = decoder.end > this.#reached ? decoder.end : this.#reached;
    return { position: formatLsn(reached), changes: decoder.changes, transactions: decoder.transactions, tables };
  }

  #plugin(): RawPlugin {
    const { slot, publications } = this.#options;
    const start = async (client: pg.Client, lsn: string) => {
      this.#connection = (client as unknown as { connection: ReplicationConnection }).connection;
      this.#readFrom(this.#connection.stream);
      const names = publications.map(quoteIdent).join(',').replaceAll("'", "''");
      if (this.#options.rawText) await client.query("set client_encoding = 'SQL_ASCII'");
      // @see https://www.postgresql.org/docs/current/protocol-logical-replication.html
      return client.query(
        `START_REPLICATION SLOT ${quoteIdent(slot)} LOGICAL ${lsn} (proto_version '1', publication_names '${names}', messages 'true')`,
      );
    };
    return new RawPlugin(start);
  }

  /** Stands between the socket and the driver's parser: changes are decoded where they were read, small reads are gathered. */
  #readFrom(stream: Socket): void {
    const parsers = stream.listeners('data') as ((chunk: Buffer) => void)[];
    stream.removeAllListeners('data');
    const framing = new MessageFraming({
      wal: (bytes, start, end) => this.#receive(bytes, start, end),
      other: (messages) => {
        for (const parse of parsers) parse.call(stream, messages);
      },
    });
    const read = (bytes: Buffer) => {
      if (this.#lostPlace) return;
      this.#receivedAt = this.#options.now();
      // A message so large that no memory is left for it, or one the driver cannot read: the stream's failure, not the process's.
      try {
        framing.push(bytes);
      } catch (error) {
        this.#lostPlace = true;
        this.#fail(error);
      }
      this.#gather(bytes.length);
    };
    if (this.#socket === null) stream.on('data', read);
    else this.#socket.take(read);
  }

  /** Called in the socket's data event: nothing may be thrown from here. */
  #receive(bytes: Buffer, start: number, end: number): void {
    if (this.#stopping) return;
    // The bytes are used again for later messages, so what must wait is copied.
    if (this.#held !== null) this.#held.push(Buffer.from(bytes.subarray(start, end)));
    else this.#decode(bytes, start, end);
  }

  #decode(bytes: Buffer, start: number, end: number): void {
    try {
      const relation = this.#options.decoder.decode(bytes, start, end);
      if (relation !== null) this.#hold(relation);
      if (this.#options.output.full) this.#waitForRoom();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Ends the stream: nothing that still comes is decoded. */
  #fail(error: unknown): void {
    this.#stopping = true;
    this.#finish(postgresError(error, this.#options.name));
  }

  /** Stops decoding and reading until the relation is known, then goes on with what came meanwhile. */
  #hold(relation: RelationMessage): void {
    this.#held = [];
    this.#pause();
    this.#options.describe(relation).then(
      () => {
        const held = this.#held ?? [];
        this.#held = null;
        for (const [i, message] of held.entries()) {
          if (this.#stopping) return;
          this.#decode(message, 0, message.length);
          if (this.#held !== null) {
            // Another relation: the rest waits for that one.
            (this.#held as Buffer[]).push(...held.slice(i + 1));
            return;
          }
        }
        this.#goOn();
      },
      (error) => this.#finish(postgresError(error, this.#options.name)),
    );
  }

  /** Back-pressure: the server waits while the disk does. */
  #waitForRoom(): void {
    this.#pause();
    if (this.#waiting || this.#held !== null) return;
    this.#waiting = true;
    void this.#options.output.drained().then(() => {
      this.#waiting = false;
      // Not asked again whether there is room: a ledger that failed has none, and says so at the next record.
      if (this.#held === null) this.#resume();
    });
  }

  /** Reads on, unless a relation is looked up (its end comes here again) or the disk is behind. */
  #goOn(): void {
    if (this.#held !== null) return;
    if (this.#options.output.full) this.#waitForRoom();
    else this.#resume();
  }

  #pause(): void {
    this.#paused = true;
    this.#connection?.stream.pause();
  }

  #resume(): void {
    this.#paused = false;
    // While nothing was read nobody could be heard.
    this.#receivedAt = this.#options.now();
    if (!this.#stopping) this.#connection?.stream.resume();
  }

  #gather(bytes: number): void {
    if (this.#turnBytes === 0) setImmediate(() => this.#restAfterTurn());
    this.#turnBytes += bytes;
  }

  #restAfterTurn(): void {
    const bytes = this.#turnBytes;
    this.#turnBytes = 0;
    const now = performance.now();
    if (now - this.#windowStart > GATHER_WINDOW_MS) {
      this.#windowStart = now;
      this.#windowBytes = 0;
    }
    this.#windowBytes += bytes;
    if (bytes >= MUCH_BYTES || this.#windowBytes < GATHER_WINDOW_BYTES || this.#paused || this.#stopping) return;
    this.#pause();
    setTimeout(() => this.#goOn(), GATHER_MS);
  }

  #heartbeat(lsn: string, respond: boolean): void {
    if (this.#stopping) return;
    // Inside a transaction the position says nothing of what is still to come.
    if (!this.#options.decoder.inTransaction && this.#held === null) {
      const position = parseLsn(lsn);
      if (position > this.#reached && position >= this.#options.decoder.end) {
        this.#reached = position;
        this.#options.output.idle(formatLsn(position));
      }
    }
    if (respond) this.#sendStatus(false);
  }

  #keepAlive(): void {
    const silent = this.#options.now() - this.#receivedAt;
    if (!this.#paused && silent > SILENCE_MS) {
      this.#finish(
        new AuditError('AUD_PG_CONNECT', {
          message: `PostgreSQL of source ${this.#options.name} has been silent for ${Math.round(silent / 1000)} s.`,
          action: 'It is connected again.',
          retry: 'soon',
        }),
      );
      return;
    }
    this.#sendStatus(true);
  }

  /**
   * Standby status update: written, flushed and applied up to the last durable position.
   * @see https://www.postgresql.org/docs/current/protocol-replication.html
   */
  #sendStatus(reply: boolean): void {
    if (this.#confirmTimer !== null) clearTimeout(this.#confirmTimer);
    this.#confirmTimer = null;
    const connection = this.#connection;
    if (connection === null || !connection.stream.writable) return;
    const status = Buffer.alloc(34);
    status[0] = 0x72; // r
    status.writeBigUInt64BE(this.#confirmed, 1);
    status.writeBigUInt64BE(this.#confirmed, 9);
    status.writeBigUInt64BE(this.#confirmed, 17);
    status.writeBigInt64BE(BigInt(this.#options.now()) * 1000n - POSTGRES_EPOCH_MICROS, 25);
    status[33] = reply ? 1 : 0;
    connection.sendCopyFromChunk(status);
  }

  /** Before the connection ends, what was written is made durable and confirmed: the next start repeats less. */
  async #settle(): Promise<void> {
    this.#connection?.stream.pause();
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SETTLE_MS);
    });
    // A ledger that failed settles nothing; the connection is ended all the same.
    await Promise.race([this.#options.output.settled().catch(() => undefined), limit]);
    clearTimeout(timer);
    this.#sendStatus(false);
  }

  async #close(): Promise<void> {
    if (this.#confirmTimer !== null) clearTimeout(this.#confirmTimer);
    const stream = this.#connection?.stream;
    const timer = setTimeout(() => stream?.destroy(), END_MS);
    stream?.resume();
    await this.#service.destroy().catch(() => undefined);
    clearTimeout(timer);
    // The package has taken its listeners away: what the socket still says must not end the process.
    this.#connection?.on('error', () => undefined);
    stream?.destroy();
    this.#connection = null;
  }
}

function connectionEnded(): AuditError {
  return new AuditError('AUD_PG_CONNECT', {
    message: 'PostgreSQL ended the replication stream (server shutdown, or the walsender was terminated).',
    action: 'It is connected again.',
    retry: 'soon',
  });
}
