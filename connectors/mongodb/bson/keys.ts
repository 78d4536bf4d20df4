// Which documents cannot be JSON objects as they are. Exact and slow: asked only when the fast walker has seen something odd.
import { type Element, newElement, readElement } from './layout.ts';

const DOLLAR = 0x24;
/** A key that JavaScript objects sort to the front: an array index. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/;
const MAX_INDEX = 4294967294;

/**
 * True when every JSON reader gets the document's keys back in order: none starts with `$` (it could pose as a type of
 * Extended JSON), none is there twice, and a JavaScript object would not sort them otherwise.
 */
export function hasPlainKeys(b: Buffer, document: number): boolean {
  const element: Element = newElement();
  const seen = new Set<string>();
  let lastIndex = -1;
  let named = false;
  for (let at = document + 4; readElement(b, at, element); at = element.next) {
    if (b[element.keyStart] === DOLLAR) return false;
    const key = b.toString('latin1', element.keyStart, element.keyEnd);
    if (seen.has(key)) return false;
    seen.add(key);
    const index = INDEX.test(key) ? Number(key) : Number.NaN;
    if (index <= MAX_INDEX) {
      if (named || index <= lastIndex) return false;
      lastIndex = index;
    } else {
      named = true;
    }
  }
  return true;
}

/** True when the array's keys are "0", "1", … as they should be. */
export function hasArrayKeys(b: Buffer, array: number): boolean {
  const element = newElement();
  let index = 0;
  for (let at = array + 4; readElement(b, at, element); at = element.next) {
    if (b.toString('latin1', element.keyStart, element.keyEnd) !== String(index++)) return false;
  }
  return true;
}
