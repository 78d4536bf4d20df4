// Where a document has text that is not UTF-8. Asked only after the walk has met some.
import { isUtf8 } from 'node:buffer';
import { BSON, cStringEnd, int32, newElement, readElement } from './layout.ts';

/** More places are not listed one by one. */
const MAX_PLACES = 32;

/** Dotted paths below `prefix` of names and texts that are not UTF-8, at most 32. */
export function brokenTextIn(b: Buffer, document: number, prefix: string): string[] {
  const places: string[] = [];
  collect(b, document, prefix, places);
  return places;
}

function collect(b: Buffer, document: number, prefix: string, places: string[]): void {
  const element = newElement();
  for (let at = document + 4; readElement(b, at, element) && places.length < MAX_PLACES; at = element.next) {
    const path = `${prefix}.${b.toString('utf8', element.keyStart, element.keyEnd)}`;
    const nameBroken = !isUtf8(b.subarray(element.keyStart, element.keyEnd));
    if (nameBroken || valueBroken(b, element.type, element.at, element.next)) places.push(path);
    if (element.type === BSON.DOCUMENT || element.type === BSON.ARRAY) collect(b, element.at, path, places);
    if (element.type === BSON.CODE_WITH_SCOPE) collect(b, element.at + 8 + int32(b, element.at + 4), path, places);
  }
}

function valueBroken(b: Buffer, type: number, at: number, end: number): boolean {
  switch (type) {
    case BSON.STRING:
    case BSON.CODE:
    case BSON.SYMBOL:
      return !isUtf8(b.subarray(at + 4, end - 1));
    case BSON.CODE_WITH_SCOPE:
      return !isUtf8(b.subarray(at + 8, at + 7 + int32(b, at + 4)));
    case BSON.DB_POINTER:
      return !isUtf8(b.subarray(at + 4, end - 13));
    case BSON.REGEX:
      return !isUtf8(b.subarray(at, cStringEnd(b, at))) || !isUtf8(b.subarray(at, end - 1));
    default:
      return false;
  }
}
