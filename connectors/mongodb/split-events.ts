// Events that the server delivers in pieces ($changeStreamSplitLargeEvent): put together again as one.
import { findElement, int32, newElement, readElement } from './bson/layout.ts';
import { ABSENT, type EventView } from './events.ts';

/** Collects the pieces of one event; only one event is ever open. */
export class SplitEvents {
  #parts: Buffer[] = [];
  #seen = new Set<string>();

  /** Adds a piece. Returns the whole event's bytes with the last one, else null. */
  add(event: EventView): Buffer | null {
    const { bytes, start, split } = event;
    const fragment = int32(bytes, findElement(bytes, split, 'fragment')?.at ?? ABSENT);
    const of = int32(bytes, findElement(bytes, split, 'of')?.at ?? ABSENT);
    if (fragment === 1) this.clear();
    const element = newElement();
    for (let at = start + 4; readElement(bytes, at, element); at = element.next) {
      const name = bytes.toString('latin1', element.keyStart, element.keyEnd);
      // Each piece has its own `_id`, the first one's is that of the event.
      if (name === 'splitEvent' || this.#seen.has(name)) continue;
      this.#seen.add(name);
      this.#parts.push(Buffer.from(bytes.subarray(at, element.next)));
    }
    if (fragment < of) return null;
    const whole = document(this.#parts);
    this.clear();
    return whole;
  }

  clear(): void {
    this.#parts = [];
    this.#seen.clear();
  }
}

function document(elements: readonly Buffer[]): Buffer {
  const length = elements.reduce((sum, { length: bytes }) => sum + bytes, 5);
  const whole = Buffer.allocUnsafe(length);
  let at = whole.writeInt32LE(length);
  for (const element of elements) at += element.copy(whole, at);
  whole[at] = 0;
  return whole;
}
