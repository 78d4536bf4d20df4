// Events in their order become records: groups of one cluster time, ordinals, actors, what the ledger holds already.
import type { ActorStage } from '../../src/core/actor.ts';
import type { SourceHost } from '../../src/core/connector.ts';
import { ByteWriter } from '../../src/record/byte-writer.ts';
import type { Attribution } from './attribution.ts';
import { BsonJson } from './bson/json.ts';
import { BSON, findElement, int64AsNumber } from './bson/layout.ts';
import { ChangeRecords } from './change-record.ts';
import { type ClusterTime, compareTimes } from './cluster-time.ts';
import { ABSENT, type EventView, KIND } from './events.ts';
import type { ImageState } from './image-state.ts';
import type { Namespace, Namespaces } from './namespaces.ts';
import { RecordParts } from './record-parts.ts';
import type { HeldPlace } from './resume.ts';
import { operationIndex } from './resume-token.ts';
import { SchemaRecords } from './schema-record.ts';

export interface EventSinkOptions {
  readonly host: SourceHost;
  readonly namespaces: Namespaces;
  readonly images: ImageState;
  readonly attribution: Attribution;
  /** What comes up to this place is in the ledger. */
  readonly held: HeldPlace | null;
}

/** Reused for each transaction; the stage keeps it no longer than that. */
interface MutableFacts {
  /** Empty for a write by itself, which carries no claim. */
  id: string;
  timeMs: number;
}

export class EventSink {
  readonly #options: EventSinkOptions;
  readonly #actors: ActorStage;
  readonly #parts: RecordParts;
  readonly #changes: ChangeRecords;
  readonly #schemas: SchemaRecords;
  readonly #context = new ByteWriter(1024);
  readonly #contextJson = new BsonJson(this.#context);
  readonly #facts: MutableFacts = { id: '', timeMs: 0 };
  /** The group that is open: one cluster time, one transaction in it. */
  #seconds = 0;
  #increment = 0;
  #tx = '';
  #seq = -1;
  #lastWallMs = 0;
  #saidOutside = false;
  /** Collections that a `create` made without images, for `setup: auto`. */
  readonly created: Namespace[] = [];

  constructor(options: EventSinkOptions) {
    const { host, namespaces, images } = options;
    this.#options = options;
    this.#actors = host.actors;
    this.#parts = new RecordParts(host.name);
    const shared = { output: host.output, actors: host.actors, parts: this.#parts, json: new BsonJson(this.#context) };
    this.#changes = new ChangeRecords(shared);
    this.#schemas = new SchemaRecords({ ...shared, namespaces, images });
  }

  /** Cluster time of the open group; zero before the first. */
  get time(): ClusterTime {
    return { seconds: this.#seconds, increment: this.#increment };
  }

  /** Ordinal of the last event of the open group; -1 before the first. */
  get seq(): number {
    return this.#seq;
  }

  /** When the last event was written, in milliseconds since 1970. */
  get lastWallMs(): number {
    return this.#lastWallMs;
  }

  /** Call once before the events of a batch. */
  beginBatch(nowMs: number): void {
    this.#parts.setCaptured(nowMs);
  }

  /** Takes one event. */
  take(event: EventView): void {
    if (event.namespace === ABSENT) return;
    const { namespaces, host, held } = this.#options;
    const namespace = namespaces.at(event.bytes, event.namespace);
    this.#place(event, namespace);
    const place = held === null ? 1 : compareTimes(event, held.time) || this.#seq - held.seq;
    if (namespace.context && event.kind <= KIND.DELETE) {
      if (event.kind === KIND.INSERT) this.#observeContext(event);
      return;
    }
    if (event.kind === KIND.OTHER) {
      this.#definition(event, namespace, place, held?.partOnly === true);
      return;
    }
    if (!namespace.captured || place <= 0) return;
    this.#learnImages(event, namespace);
    this.#changes.write(event, namespace, this.#seq);
    this.#actors.count(namespace.database, namespace.collection, 1);
    host.metrics.changes++;
  }

  #definition(event: EventView, namespace: Namespace, place: number, partOnly: boolean): void {
    const { host, images } = this.#options;
    if (place < 0 || (place === 0 && !partOnly)) return;
    const written = this.#schemas.write(event, namespace, this.#seq, place === 0);
    if (!written) return;
    this.#actors.count(namespace.database, namespace.collection, 1);
    host.metrics.changes++;
    const made = event.operation === 'create' && namespace.captured && !namespace.context;
    if (made && !images.isOn(namespace.database, namespace.collection) && !isView(event)) this.created.push(namespace);
  }

  /** Finds the event's group and ordinal; a new group starts a new actor. */
  #place(event: EventView, namespace: Namespace): void {
    const sameTime = event.seconds === this.#seconds && event.increment === this.#increment;
    const tx = event.session === ABSENT || event.number === ABSENT ? '' : transactionText(event);
    const index = operationIndexOf(event);
    // Two shards may have the same time: then the order of the stream counts on.
    this.#seq = sameTime ? Math.max(this.#seq + 1, index) : index;
    if (sameTime && tx === this.#tx) return;
    this.#seconds = event.seconds;
    this.#increment = event.increment;
    this.#tx = tx;
    const wallMs = event.wallMs === 0 ? event.seconds * 1000 : event.wallMs;
    this.#lastWallMs = wallMs;
    this.#parts.setGroup(event, wallMs, tx);
    this.#facts.id = tx;
    this.#facts.timeMs = wallMs;
    this.#actors.begin(this.#facts);
    this.#actors.observe(this.#options.attribution.fact(event, namespace.full));
    this.#options.host.metrics.transactions++;
  }

  /** The application's claim; it holds for what follows in the same transaction, and only there. */
  #observeContext(event: EventView): void {
    if (this.#tx === '' || event.afterType !== BSON.DOCUMENT) {
      this.#warnOutside();
      return;
    }
    const out = this.#context;
    out.pos = 0;
    this.#contextJson.begin(out, false);
    this.#contextJson.document(event.bytes, event.after, true);
    this.#actors.observe({ via: 'message', text: out.buf.subarray(0, out.pos) });
  }

  #warnOutside(): void {
    if (this.#saidOutside) return;
    this.#saidOutside = true;
    this.#options.host.log.warn(
      {
        event: 'context_outside_transaction',
        action: 'Insert it first in the transaction whose changes it is for.',
      },
      'A context document was inserted outside of a transaction: it names nobody.',
    );
  }

  /** Images may be on where the user is not allowed to read a collection's options. */
  #learnImages(event: EventView, namespace: Namespace): void {
    if (namespace.images || event.beforeType !== BSON.DOCUMENT) return;
    namespace.images = true;
    this.#options.images.set(namespace.database, namespace.collection, true);
  }
}

/** `lsid:txnNumber`, the session's id as a UUID. */
function transactionText(event: EventView): string {
  const { bytes, session, number } = event;
  const id = findElement(bytes, session, 'id');
  const hex = id === null ? '' : bytes.toString('hex', id.at + 5, id.at + 21);
  return `${hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}:${int64AsNumber(bytes, number)}`;
}

/** Kind of token and index 0, where they stand in the token of a write by itself: `2C0100` `29`. */
const KIND_AT = 22;
const INDEX_AT = 28;

function operationIndexOf(event: EventView): number {
  const { bytes, tokenStart } = event;
  const plain =
    bytes[tokenStart + KIND_AT] === 0x32 &&
    bytes[tokenStart + KIND_AT + 1] === 0x43 &&
    bytes[tokenStart + INDEX_AT] === 0x32 &&
    bytes[tokenStart + INDEX_AT + 1] === 0x39;
  return plain ? 0 : (operationIndex(event.token) ?? 0);
}

function isView(event: EventView): boolean {
  return event.description !== ABSENT && findElement(event.bytes, event.description, 'viewOn') !== null;
}
