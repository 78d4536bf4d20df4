// Reads the change stream batch by batch and writes records, until told to stop.
import { setImmediate } from 'node:timers/promises';
import type { MongoClient } from 'mongodb';
import type { SourceHost, SourceStream, StreamProgress } from '../../src/core/connector.ts';
import { AuditError } from '../../src/errors/audit-error.ts';
import { recordPassedOver } from './announce.ts';
import type { Attribution } from './attribution.ts';
import type { Deployment } from './client.ts';
import { type ClusterTime, compareTimes } from './cluster-time.ts';
import { type RawBatch, RawCursor } from './cursor.ts';
import { type HistoryLost, historyLost, isConnectionClosed, isEventTooLarge, mongoError } from './errors.ts';
import { EventSink } from './event-sink.ts';
import { ABSENT, EventView } from './events.ts';
import type { ImageState } from './image-state.ts';
import type { Namespaces } from './namespaces.ts';
import type { CollectionMatcher } from './patterns.ts';
import { type Detail, type StreamStart, streamPipeline } from './pipeline.ts';
import { formatPosition, laterPlace, type RecordPlace } from './position.ts';
import type { Start } from './resume.ts';
import { tokenTime } from './resume-token.ts';
import type { AutomaticSetup } from './setup.ts';
import { SplitEvents } from './split-events.ts';

export interface MongoStreamOptions {
  readonly client: MongoClient;
  readonly host: SourceHost;
  readonly deployment: Deployment;
  readonly start: Start;
  /** Null: the whole cluster. */
  readonly database: string | null;
  readonly matcher: CollectionMatcher;
  readonly contextCollection: string;
  readonly batchSize: number;
  readonly namespaces: Namespaces;
  readonly images: ImageState;
  readonly attribution: Attribution;
  /** Null with `setup: manual`. */
  readonly setup: AutomaticSetup | null;
  /** Connections were closed again and again under streams that start here: look for the event that does it. */
  readonly suspicious: boolean;
  /** Called when the server has not kept what comes next. */
  onLost(cause: HistoryLost): void;
  /** Called when the connection was closed under the stream. */
  onClosed(): void;
  /** Called when something to be remembered has changed. */
  remember(): void;
}

/** Events written in one go; then others have their turn: sinks, other sources, the ledger. */
const SLICE_EVENTS = 500;

/** Characters of a token that is kept with the position. */
const LONGEST_PROOF = 4096;

/** Less of an event that was too large, step by step. */
const LESS: Readonly<Record<Detail, Detail | null>> = {
  whole: 'guarded',
  guarded: 'single',
  single: 'bare',
  bare: 'key',
  key: 'past',
  past: null,
};

/** Where many events come in one reply, and the next one is asked for while one is written. */
const MANY: ReadonlySet<Detail> = new Set(['whole', 'guarded']);

export class MongoStream implements SourceStream {
  readonly #options: MongoStreamOptions;
  readonly #sink: EventSink;
  readonly #view = new EventView();
  readonly #split = new SplitEvents();
  #start: StreamStart;
  /** The last event came in pieces, or is still coming. */
  #inPieces = false;
  #detail: Detail;
  /** How far the first reply had looked, where events are passed over. */
  #looked: ClusterTime | null = null;
  /** It is certain that an event cannot be had: the server has said so, or it was looked for a second time. */
  #refused = false;
  /** What is gone back to behind an event that was too large. */
  #usual: Detail = 'whole';
  /** Token of an event that was seen: a proof of this history for the next start. */
  #proof: string | null;
  #position: string | null = null;
  readonly #before: { readonly changes: number; readonly transactions: number };

  constructor(options: MongoStreamOptions) {
    const { host, namespaces, images, attribution, start } = options;
    this.#options = options;
    this.#sink = new EventSink({ host, namespaces, images, attribution, held: start.held });
    this.#start = { time: start.time };
    this.#proof = start.proof;
    this.#detail = options.suspicious ? 'single' : 'whole';
    this.#before = { changes: host.metrics.changes, transactions: host.metrics.transactions };
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof CursorFailed) this.#afterFailure(error.cause);
        else throw this.#otherError(error);
      }
    }
  }

  /** Nothing to tell the server: its oplog knows no readers. */
  confirm(): void {}

  progress(): StreamProgress {
    const { metrics } = this.#options.host;
    return {
      position: this.#position,
      changes: metrics.changes - this.#before.changes,
      transactions: metrics.transactions - this.#before.transactions,
      tables: this.#options.namespaces.counts(),
    };
  }

  /**
   * An event that is too large is asked for with less in it; everything else ends the stream. Some servers close the connection
   * when the reply is too large as a whole, which is taken for it while such an event is looked for. An outage that looks alike
   * costs nothing: then nothing is read at all, and the next stream begins anew.
   */
  #afterFailure(error: unknown): void {
    const { log, name } = this.#options.host;
    const lost = historyLost(error);
    if (lost !== null) this.#options.onLost(lost);
    const closed = isConnectionClosed(error);
    if (closed) this.#options.onClosed();
    const large = isEventTooLarge(error);
    if (large) this.#usual = 'guarded';
    if (large && this.#detail === 'key') this.#refused = true;
    if (!large && !(closed && this.#isSearching())) throw mongoError(error, name);
    const less = LESS[this.#detail];
    if (less === null) {
      throw new AuditError('AUD_MONGO_EVENT', {
        message: `The server cannot deliver an event of source ${name}, not even its key alone.`,
        action: 'See the server’s log for the namespace; go on behind it by starting with a new data directory.',
        retry: 'after_operator',
        cause: error,
      });
    }
    const why = closed ? 'The server closes the connection, as it may with an event' : 'An event is';
    log.warn({ event: 'event_too_large', detail: less }, `${why} larger than 16 MB: it is read with less in it.`);
    this.#detail = less;
  }

  /** Of another command: the server’s word on it is none on the stream. A cursor that loses its connection may take others along. */
  #otherError(error: unknown): Error {
    if (isConnectionClosed(error)) this.#options.onClosed();
    return mongoError(error, this.#options.host.name);
  }

  /** Looking for one event that does not fit, and able to ask for less of it. A half of an event cannot be. */
  #isSearching(): boolean {
    const detail = this.#detail;
    return (detail === 'single' || detail === 'bare' || detail === 'key') && !this.#inPieces;
  }

  /** Opens one cursor and reads it until it ends, or the level of detail must change. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { client, database, batchSize } = this.#options;
    const detail = this.#detail;
    const cursor = await RawCursor.open({
      client,
      database: database ?? 'admin',
      pipeline: this.#pipeline(detail),
      batchSize: MANY.has(detail) ? batchSize : 1,
      signal,
    }).catch(failed);
    try {
      await this.#read(cursor, signal);
    } finally {
      await cursor.close();
    }
  }

  #pipeline(detail: Detail) {
    const { database, matcher, contextCollection, deployment } = this.#options;
    const cluster = database === null;
    return streamPipeline({
      start: this.#start,
      cluster,
      matcher,
      contextCollection,
      detail,
      split: deployment.splitsLargeEvents,
    });
  }

  async #read(cursor: RawCursor, signal: AbortSignal): Promise<void> {
    const { output } = this.#options.host;
    const { attribution } = this.#options;
    let coming = askedFor(cursor);
    for (let replies = 1; !signal.aborted; replies++) {
      const batch = await coming;
      const { ended } = cursor;
      if (output.full) await output.drained();
      const more = !ended && MANY.has(this.#detail);
      // The server gathers the next batch while this one is written. The driver sends nothing before others have their turn.
      if (more) {
        coming = askedFor(cursor);
        await setImmediate();
      }
      await attribution.refresh(signal);
      const passed = this.#isPassed(batch, replies);
      if (this.#detail === 'past') {
        // No step before it is certain: a position behind an event that is passed over must not be kept without the gap record.
        if (!passed) {
          coming = askedFor(cursor);
          continue;
        }
        // The connection may have been closed for another reason: then a second look finds nothing to be passed over.
        if (!this.#refused) {
          this.#refused = true;
          this.#detail = 'single';
          return;
        }
        this.#passedOver(batch);
      }
      await this.#write(batch, signal);
      this.#start = { token: batch.token };
      if (passed) {
        this.#detail = this.#usual;
        this.#refused = false;
        return;
      }
      if (ended) {
        // After an invalidation the stream goes on behind it; an end without a reason must not be followed by another.
        if (batch.events.length === 0) throw cursorClosed(this.#options.host.name);
        return;
      }
      if (!more) coming = askedFor(cursor);
    }
  }

  /**
   * With less detail one event is read; while looking for it, an empty reply says that it is not there, and so do more events
   * than the reply can have had that was not delivered. Not the first empty one: a mongos gives that before it has looked.
   */
  #isPassed(batch: RawBatch, replies: number): boolean {
    if (MANY.has(this.#detail)) return false;
    if (batch.events.length > 0) return this.#detail !== 'single' || replies > this.#options.batchSize;
    if (this.#detail === 'past') return this.#isBehind(batch, replies);
    return replies > 1;
  }

  /** A token without an event stands before the events of its time: only a later one is behind what was passed over. */
  #isBehind(batch: RawBatch, replies: number): boolean {
    const time = tokenTime(batch.token);
    if (replies === 1) this.#looked = time;
    return time !== null && this.#looked !== null && compareTimes(time, this.#looked) > 0;
  }

  /** Says where the events were that no reply can hold, before what came after them. */
  #passedOver(batch: RawBatch): void {
    const from = 'time' in this.#start ? this.#start.time : tokenTime(this.#start.token);
    const to = batch.events.length > 0 ? this.#timeOf(batch, 0) : tokenTime(batch.token);
    if (from !== null && to !== null) recordPassedOver(this.#options.host, from, to);
  }

  async #write(batch: RawBatch, signal: AbortSignal): Promise<void> {
    const { host, attribution } = this.#options;
    if (batch.events.length > 0) {
      host.metrics.bytes += batch.bytes.length;
      await attribution.prepare(this.#timeOf(batch, 0), this.#timeOf(batch, batch.events.length - 1), signal);
      let next = 0;
      while (next < batch.events.length && !signal.aborted) next = await this.#writeFrom(batch, next);
      if (signal.aborted) return;
    }
    await this.#createdImages();
    this.#remember();
    this.#reached(batch);
  }

  /** Writes events until one needs something that takes time; returns the next to go on with. */
  async #writeFrom(batch: RawBatch, from: number): Promise<number> {
    const { host, attribution } = this.#options;
    const { events, bytes } = batch;
    this.#sink.beginBatch(host.now());
    for (let i = from; i < events.length; i++) {
      this.#view.read(bytes, events[i]!);
      if (attribution.isWorthAsking(this.#view)) {
        await attribution.learn();
        return i;
      }
      this.#take();
      if (host.output.full) {
        await host.output.drained();
        return i + 1;
      }
      if (i - from === SLICE_EVENTS) {
        await setImmediate();
        return i + 1;
      }
    }
    // The token of a piece of an event is no good without its other pieces, and one with a huge key in it no good to keep.
    const { tokenStart, tokenEnd } = this.#view;
    if (!this.#inPieces && tokenEnd - tokenStart <= LONGEST_PROOF) this.#proof = this.#view.token;
    return events.length;
  }

  #take(): void {
    const view = this.#view;
    this.#inPieces = view.split !== ABSENT;
    if (this.#inPieces) {
      const whole = this.#split.add(view);
      if (whole === null) return;
      view.read(whole, 0);
    }
    this.#sink.take(view);
  }

  #timeOf(batch: RawBatch, index: number): ClusterTime {
    const view = this.#view;
    view.read(batch.bytes, batch.events[index]!);
    // Of an event in pieces only one has the field; each has its token.
    return (view.seconds === 0 ? tokenTime(view.token) : null) ?? { seconds: view.seconds, increment: view.increment };
  }

  /** With `setup: auto`, a new collection gets its images before much is written to it. */
  async #createdImages(): Promise<void> {
    const created = this.#sink.created.splice(0);
    if (created.length > 0) await this.#options.setup?.images(created);
  }

  #remember(): void {
    const { images, attribution } = this.#options;
    if (images.changed || attribution.learnt) this.#options.remember();
  }

  /**
   * Where the stream stands. The token of a batch is that of its last event, or a time before which nothing is to come;
   * only the latter says that the last transaction is over.
   */
  #reached(batch: RawBatch): void {
    const { host } = this.#options;
    const { time, seq } = this.#sink;
    const covered = tokenTime(batch.token);
    const over = covered !== null && compareTimes(covered, time) > 0;
    if (!over && seq < 0) return;
    const seen = over ? { time: covered, seq: -1 } : { time, seq };
    // While the start of a transaction is read a second time, the ledger is still ahead.
    const { held } = this.#options.start;
    const place = laterPlace<RecordPlace>(seen, held)!;
    // Of a rename only the first record is there: no position says that.
    if (place === held && held.partOnly) return;
    const { database } = this.#options;
    const text = formatPosition({ time: place.time, seq: place.seq, token: this.#proof, database });
    if (batch.events.length > 0) {
      host.metrics.lagMs = Math.max(0, host.now() - this.#sink.lastWallMs);
      host.output.reached(text);
    } else {
      host.metrics.lagMs = 0;
      if (text !== this.#position) host.output.idle(text);
    }
    this.#position = text;
  }
}

/** The change stream itself failed, and not another command beside it. */
class CursorFailed extends Error {
  constructor(cause: unknown) {
    super('the change stream failed', { cause });
  }
}

function failed(cause: unknown): never {
  throw new CursorFailed(cause);
}

/** The next reply. It may fail while the one before is being written: that is seen when it is waited for, or not at all. */
function askedFor(cursor: RawCursor): Promise<RawBatch> {
  const coming = cursor.next().catch(failed);
  coming.catch(() => undefined);
  return coming;
}

function cursorClosed(name: string): AuditError {
  return new AuditError('AUD_MONGO_SERVER', {
    message: `The server closed the change stream of source ${name}.`,
    action: 'It is opened again.',
    retry: 'soon',
  });
}
