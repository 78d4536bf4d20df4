// Entries of the oplog as the view shows them, read in place beside the events they belong to.
import { findElement, int32, nameCode, nameCodeAt, newElement, readElement, uint32 } from './bson/layout.ts';
import { type ClusterTime, compareTimes } from './cluster-time.ts';
import type { RawBatch } from './cursor.ts';
import { ABSENT, type EventView } from './events.ts';
import { UID_BYTES } from './user-names.ts';

/** Length and subtype in front of binary data. */
const BINARY_HEAD = 5;

/** Fields of an entry, as the view shows them. */
const FIELD = {
  TIME: nameCode('ts'),
  OPERATION: nameCode('op'),
  NAMESPACE: nameCode('ns'),
  SESSION: nameCode('lsid'),
  DOCUMENT: nameCode('o'),
  KEY: nameCode('o2'),
} as const;

/** One oplog entry, as places in the reply's bytes. Reused: no object an entry. */
export class Entry implements ClusterTime {
  bytes: Buffer = Buffer.alloc(0);
  seconds = 0;
  increment = 0;
  op = 0;
  /** The text of `ns`. */
  nsStart = 0;
  nsEnd = 0;
  /** 32 bytes, or ABSENT. */
  uid = ABSENT;
  /** The element `_id`: its type and its place, or ABSENT. */
  idType = 0;
  idStart = ABSENT;
  idEnd = ABSENT;
  readonly #element = newElement();

  /** Reads the entry at `place`; `bytes` must stay as they are while it is looked at. */
  read(bytes: Buffer, place: number): void {
    this.bytes = bytes;
    this.seconds = this.increment = this.op = this.nsStart = this.nsEnd = this.idType = 0;
    this.uid = this.idStart = this.idEnd = ABSENT;
    const element = this.#element;
    for (let at = place + 4; readElement(bytes, at, element); at = element.next) this.#field();
  }

  /** Takes the element that was read last. */
  #field(): void {
    const { bytes } = this;
    const { keyStart, keyEnd, at, next } = this.#element;
    switch (nameCodeAt(bytes, keyStart, keyEnd)) {
      case FIELD.TIME:
        this.increment = uint32(bytes, at);
        this.seconds = uint32(bytes, at + 4);
        break;
      case FIELD.OPERATION:
        this.op = bytes[at + 4]!;
        break;
      case FIELD.NAMESPACE:
        this.nsStart = at + 4;
        this.nsEnd = next - 1;
        break;
      case FIELD.SESSION:
        this.uid = uidOf(bytes, at);
        break;
      // An update has its key in o2; `o` then holds the change and no key.
      case FIELD.DOCUMENT:
      case FIELD.KEY:
        this.#key(at);
        break;
      default: // A view of another form: more than is needed.
    }
  }

  #key(document: number): void {
    const id = findElement(this.bytes, document, '_id');
    if (id === null) return;
    this.idType = id.type;
    this.idStart = id.at;
    this.idEnd = id.next;
  }
}

/** The entries of one answer, looked at one after the other: events come in the same order. */
export class Entries {
  #batches: readonly RawBatch[] = [];
  #batch = 0;
  #next = 0;
  readonly #entry = new Entry();
  /** The first entry that was not passed yet. */
  current: Entry | null = null;

  /** Starts over with the replies of another question, in their order. */
  reset(batches: readonly RawBatch[]): void {
    this.#batches = batches;
    this.#batch = this.#next = 0;
    this.#advance();
  }

  /** The entry of the event's time, or null. Earlier ones are passed for good, so events must come in their order. */
  find(event: EventView): Entry | null {
    while (this.current !== null && compareTimes(this.current, event) < 0) this.#advance();
    return this.current !== null && compareTimes(this.current, event) === 0 ? this.current : null;
  }

  #advance(): void {
    this.current = null;
    for (; this.#batch < this.#batches.length; this.#batch++, this.#next = 0) {
      const { bytes, events } = this.#batches[this.#batch]!;
      if (this.#next === events.length) continue;
      this.#entry.read(bytes, events[this.#next++]!);
      this.current = this.#entry;
      return;
    }
  }
}

/** Where the 32 bytes of `uid` in a session document are, or ABSENT. */
export function uidOf(bytes: Buffer, session: number): number {
  const uid = findElement(bytes, session, 'uid');
  return uid === null || int32(bytes, uid.at) !== UID_BYTES ? ABSENT : uid.at + BINARY_HEAD;
}
