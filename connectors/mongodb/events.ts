// One change event as places in the batch's bytes. Reused: no object an event.
import {
  BSON,
  int32,
  int64AsNumber,
  malformed,
  nameCode,
  nameCodeAt,
  newElement,
  readElement,
  uint32,
} from './bson/layout.ts';

/** Fields of an event; their types are checked where they are read. */
const FIELD = {
  ID: nameCode('_id'),
  OPERATION: nameCode('operationType'),
  CLUSTER_TIME: nameCode('clusterTime'),
  WALL_TIME: nameCode('wallTime'),
  AFTER: nameCode('fullDocument'),
  BEFORE: nameCode('fullDocumentBeforeChange'),
  NAMESPACE: nameCode('ns'),
  TO: nameCode('to'),
  KEY: nameCode('documentKey'),
  UPDATE: nameCode('updateDescription'),
  UUID: nameCode('collectionUUID'),
  SESSION: nameCode('lsid'),
  NUMBER: nameCode('txnNumber'),
  DESCRIPTION: nameCode('operationDescription'),
  STATE: nameCode('stateBeforeChange'),
  SPLIT: nameCode('splitEvent'),
} as const;

/** Kinds of events. The four on documents come first: `kind <= DELETE`. */
export const KIND = { INSERT: 0, UPDATE: 1, REPLACE: 2, DELETE: 3, OTHER: 4 } as const;

export const ABSENT = -1;

export class EventView {
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  kind: number = KIND.OTHER;
  /** The server's name of the operation; empty for the four on documents, which are told by `kind`. */
  operation = '';
  seconds = 0;
  increment = 0;
  /** Milliseconds since 1970 when the server wrote it. */
  wallMs = 0;
  /** The resume token's text. */
  tokenStart = 0;
  tokenEnd = 0;
  /** Places of documents, or ABSENT. An image that is null has type NULL. */
  after = ABSENT;
  afterType = 0;
  before = ABSENT;
  beforeType = 0;
  namespace = ABSENT;
  to = ABSENT;
  key = ABSENT;
  update = ABSENT;
  uuid = ABSENT;
  session = ABSENT;
  description = ABSENT;
  state = ABSENT;
  split = ABSENT;
  /** The transaction's number as int64, or ABSENT. */
  number = ABSENT;
  readonly #element = newElement();

  /** Reads the event at `start`. @throws AUD_MONGO_PROTOCOL when it is not an event. */
  read(bytes: Buffer, start: number): void {
    this.#reset(bytes, start);
    const element = this.#element;
    for (let at = start + 4; readElement(bytes, at, element); at = element.next) this.#field(element.type, element.at);
    if (this.tokenEnd === 0) throw malformed();
  }

  get token(): string {
    return this.bytes.toString('latin1', this.tokenStart, this.tokenEnd);
  }

  #reset(bytes: Buffer, start: number): void {
    this.bytes = bytes;
    this.start = start;
    this.kind = KIND.OTHER;
    this.operation = '';
    this.seconds =
      this.increment =
      this.wallMs =
      this.tokenStart =
      this.tokenEnd =
      this.afterType =
      this.beforeType =
        0;
    this.after = this.before = this.namespace = this.to = this.key = this.update = this.uuid = ABSENT;
    this.session = this.description = this.state = this.split = this.number = ABSENT;
  }

  #field(type: number, at: number): void {
    const b = this.bytes;
    const { keyStart, keyEnd } = this.#element;
    switch (nameCodeAt(b, keyStart, keyEnd)) {
      case FIELD.ID:
        this.#token(at);
        break;
      case FIELD.OPERATION:
        this.#operation(at);
        break;
      case FIELD.CLUSTER_TIME:
        if (type !== BSON.TIMESTAMP) throw malformed(type);
        this.increment = uint32(b, at);
        this.seconds = uint32(b, at + 4);
        break;
      case FIELD.WALL_TIME:
        if (type === BSON.DATE) this.wallMs = int64AsNumber(b, at);
        break;
      case FIELD.AFTER:
        this.after = at;
        this.afterType = type;
        break;
      case FIELD.BEFORE:
        this.before = at;
        this.beforeType = type;
        break;
      case FIELD.NAMESPACE:
        this.namespace = at;
        break;
      case FIELD.TO:
        this.to = at;
        break;
      case FIELD.KEY:
        this.key = at;
        break;
      case FIELD.UPDATE:
        this.update = at;
        break;
      case FIELD.UUID:
        this.uuid = at;
        break;
      case FIELD.SESSION:
        if (type === BSON.DOCUMENT) this.session = at;
        break;
      case FIELD.NUMBER:
        if (type === BSON.INT64) this.number = at;
        break;
      case FIELD.DESCRIPTION:
        this.description = at;
        break;
      case FIELD.STATE:
        this.state = at;
        break;
      case FIELD.SPLIT:
        if (type === BSON.DOCUMENT) this.split = at;
        break;
      default: // A field of a later server: what is known of the event is recorded.
    }
  }

  /** `_id: { _data: "82…" }`. */
  #token(at: number): void {
    const b = this.bytes;
    const data = at + 4;
    if (b[data] !== BSON.STRING || b.toString('latin1', data + 1, data + 7) !== '_data\0') throw malformed(b[data]!);
    this.tokenStart = data + 11;
    this.tokenEnd = data + 10 + int32(b, data + 7);
  }

  #operation(at: number): void {
    const b = this.bytes;
    const length = int32(b, at) - 1;
    const first = b[at + 4]!;
    if (length === 6 && first === 0x69) this.kind = KIND.INSERT;
    else if (length === 6 && first === 0x75) this.kind = KIND.UPDATE;
    else if (length === 6 && first === 0x64) this.kind = KIND.DELETE;
    else if (length === 7 && first === 0x72 && b[at + 6] === 0x70) this.kind = KIND.REPLACE;
    else {
      this.kind = KIND.OTHER;
      this.operation = b.toString('latin1', at + 4, at + 4 + length);
    }
  }
}
