// `changed`: which fields an update touched, as dotted paths. A dot, a dollar or a backslash inside a name is escaped by a
// backslash. Servers before 6.1 do not tell the field named `a.b` from `b` in `a`; the images do.
import { type ByteWriter, fragment } from '../../src/record/byte-writer.ts';
import {
  BSON,
  cStringEnd,
  findElement,
  int32,
  isNamed,
  newElement,
  readElement,
  stringAt,
  valueSize,
} from './bson/layout.ts';
import { ABSENT, type EventView, KIND } from './events.ts';

const DOT = 0x2e;
const DOLLAR = 0x24;
const BACKSLASH = 0x5c;
const SPECIAL = /[.$\\]/;

const CHANGED = fragment(',"changed":[');
const COMMA = 0x2c;
const LIST_END = 0x5d;

/** Writes the paths of one event after the other; nothing is kept from one to the next. */
export class ChangedPaths {
  #event!: EventView;
  #out!: ByteWriter;
  #count = 0;
  #ambiguous = false;
  /** Where the server says itself which dots divide, or ABSENT on servers that do not. */
  #told = ABSENT;
  readonly #element = newElement();

  /**
   * Writes `,"changed":[…]`: the paths that the event's `updateDescription` names, in its order, or the fields that a
   * replacement changed; nothing when there are none. True when a dot may be part of a name or not, and nothing at hand tells.
   */
  write(event: EventView, out: ByteWriter): boolean {
    this.#event = event;
    this.#out = out;
    this.#count = 0;
    this.#ambiguous = false;
    if (event.kind === KIND.REPLACE) for (const name of replacedFields(event)) this.#text(name);
    else if (event.kind === KIND.UPDATE && event.update !== ABSENT) this.#update();
    if (this.#count > 0) out.byte(LIST_END);
    return this.#ambiguous;
  }

  #update(): void {
    const b = this.#event.bytes;
    const element = this.#element;
    let updated = ABSENT;
    let removed = ABSENT;
    let truncated = ABSENT;
    this.#told = ABSENT;
    for (let at = this.#event.update + 4; readElement(b, at, element); at = element.next) {
      const { keyStart, keyEnd } = element;
      if (isNamed(b, keyStart, keyEnd, 'updatedFields')) updated = element.at;
      else if (isNamed(b, keyStart, keyEnd, 'removedFields')) removed = element.at;
      else if (isNamed(b, keyStart, keyEnd, 'truncatedArrays')) truncated = element.at;
      else if (isNamed(b, keyStart, keyEnd, 'disambiguatedPaths')) this.#told = element.at;
    }
    if (updated !== ABSENT) this.#updatedFields(updated);
    if (removed !== ABSENT) this.#removedFields(removed);
    if (truncated !== ABSENT) this.#truncatedArrays(truncated);
  }

  #updatedFields(document: number): void {
    const b = this.#event.bytes;
    const element = this.#element;
    for (let at = document + 4; readElement(b, at, element); at = element.next) {
      this.#path(element.keyStart, element.keyEnd, 'after');
    }
  }

  #removedFields(array: number): void {
    const b = this.#event.bytes;
    const element = this.#element;
    for (let at = array + 4; readElement(b, at, element); at = element.next) {
      this.#path(element.at + 4, element.next - 1, 'before');
    }
  }

  #truncatedArrays(array: number): void {
    const b = this.#event.bytes;
    const element = this.#element;
    for (let at = array + 4; readElement(b, at, element); at = element.next) {
      const field = findElement(b, element.at, 'field');
      if (field !== null) this.#path(field.at + 4, field.next - 1, 'after');
    }
  }

  #path(start: number, end: number, image: 'before' | 'after'): void {
    const b = this.#event.bytes;
    let dots = false;
    let special = false;
    let ascii = true;
    for (let p = start; p < end; p++) {
      const c = b[p]!;
      if (c === DOT) dots = true;
      else if (c === DOLLAR || c === BACKSLASH) special = true;
      else if (c >= 0x80) ascii = false;
    }
    if (ascii && !special && (!dots || this.#isPlain(start, end, image))) {
      this.#separate();
      this.#out.string(b, start, end);
      return;
    }
    const path = b.toString('utf8', start, end);
    if (dots) this.#text(this.#dotted(path, image));
    else this.#text(escapeName(path));
  }

  #text(path: string): void {
    this.#separate();
    this.#out.json(path);
  }

  #separate(): void {
    if (this.#count++ === 0) this.#out.bytes(CHANGED);
    else this.#out.byte(COMMA);
  }

  /** The usual case, without making strings of names: every dot divides, and the image leaves no doubt. */
  #isPlain(start: number, end: number, image: 'before' | 'after'): boolean {
    if (this.#told !== ABSENT) return false;
    const place = this.#imageFor(image);
    return place !== ABSENT && hasPlainPath(this.#event.bytes, place, start, end);
  }

  /** The image that an updated or a removed field can be found in. */
  #imageFor(image: 'before' | 'after'): number {
    const { after, afterType, before, beforeType } = this.#event;
    if (image === 'after' && afterType === BSON.DOCUMENT) return after;
    return beforeType === BSON.DOCUMENT ? before : ABSENT;
  }

  #dotted(path: string, image: 'before' | 'after'): string {
    if (this.#told !== ABSENT) return joinNames(this.#toldNames(path) ?? path.split('.'));
    const event = this.#event;
    const ways = this.#ways(path, image);
    const only = ways.length > 1 ? ways.filter((way) => differs(event, way)) : ways;
    if (only.length === 1) return joinNames(only[0]!);
    this.#ambiguous = true;
    return joinNames(path.split('.'));
  }

  #toldNames(path: string): string[] | null {
    const b = this.#event.bytes;
    const element = newElement();
    for (let at = this.#told + 4; readElement(b, at, element); at = element.next) {
      if (element.type !== BSON.ARRAY || b.toString('utf8', element.keyStart, element.keyEnd) !== path) continue;
      const names: string[] = [];
      const part = newElement();
      for (let p = element.at + 4; readElement(b, p, part); p = part.next) {
        names.push(part.type === BSON.STRING ? stringAt(b, part.at) : String(int32(b, part.at)));
      }
      return names;
    }
    return null;
  }

  #ways(path: string, image: 'before' | 'after'): string[][] {
    const place = this.#imageFor(image);
    return place === ABSENT ? [] : waysTo(this.#event.bytes, place, path);
  }
}

/** True when the path at `[start, end)` of the same bytes can be read in one way only, and no name in it has a dot. */
function hasPlainPath(b: Buffer, place: number, start: number, end: number): boolean {
  let found = false;
  for (let at = place + 4; b[at] !== 0; ) {
    const keyStart = at + 1;
    const keyEnd = cStringEnd(b, keyStart);
    const type = b[at]!;
    at = keyEnd + 1 + valueSize(b, type, keyEnd + 1);
    const length = keyEnd - keyStart;
    const rest = start + length;
    if (rest > end || !startsWithKey(b, start, keyStart, length)) continue;
    if (rest < end && b[rest] !== DOT) continue;
    const dotted = b.subarray(keyStart, keyEnd).includes(DOT);
    const inside = rest < end && (type === BSON.DOCUMENT || type === BSON.ARRAY);
    if (dotted || found || (rest < end && !inside)) return false;
    if (inside && !hasPlainPath(b, keyEnd + 1, rest + 1, end)) return false;
    found = true;
  }
  return found;
}

function startsWithKey(b: Buffer, path: number, key: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (b[path + i] !== b[key + i]) return false;
  return true;
}

/** All ways to read `path` as names of the document at `place`. */
function waysTo(b: Buffer, place: number, path: string): string[][] {
  const ways: string[][] = [];
  const bytes = Buffer.from(path, 'utf8');
  for (let at = place + 4; b[at] !== 0; ) {
    const keyStart = at + 1;
    const keyEnd = cStringEnd(b, keyStart);
    const type = b[at]!;
    at = keyEnd + 1 + valueSize(b, type, keyEnd + 1);
    const length = keyEnd - keyStart;
    if (length > bytes.length || !startsWith(bytes, b, keyStart, length)) continue;
    const name = b.toString('utf8', keyStart, keyEnd);
    if (length === bytes.length) ways.push([name]);
    else if (bytes[length] === DOT && (type === BSON.DOCUMENT || type === BSON.ARRAY)) {
      for (const rest of waysTo(b, keyEnd + 1, bytes.toString('utf8', length + 1))) ways.push([name, ...rest]);
    }
  }
  return ways;
}

function startsWith(path: Buffer, b: Buffer, start: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (path[i] !== b[start + i]) return false;
  return true;
}

/** Whether the value that `names` lead to is another one in the two images; false without both. */
function differs(event: EventView, names: readonly string[]): boolean {
  const { bytes, before, beforeType, after, afterType } = event;
  if (beforeType !== BSON.DOCUMENT || afterType !== BSON.DOCUMENT) return false;
  const old = valueAt(bytes, before, names);
  const now = valueAt(bytes, after, names);
  if (old === null || now === null) return old !== now;
  return !old.equals(now);
}

/** Type and bytes of the value that `names` lead to. */
function valueAt(b: Buffer, place: number, names: readonly string[]): Buffer | null {
  const element = newElement();
  const [name, ...rest] = names;
  for (let at = place + 4; readElement(b, at, element); at = element.next) {
    if (b.toString('utf8', element.keyStart, element.keyEnd) !== name) continue;
    if (rest.length > 0) return valueAt(b, element.at, rest);
    return Buffer.concat([Buffer.from([element.type]), b.subarray(element.at, element.next)]);
  }
  return null;
}

/** Fields of the first level that differ between the images of a replaced document. */
function replacedFields(event: EventView): readonly string[] {
  const { bytes, before, beforeType, after, afterType } = event;
  if (beforeType !== BSON.DOCUMENT || afterType !== BSON.DOCUMENT) return [];
  const old = fieldsOf(bytes, before);
  const names: string[] = [];
  for (const [name, value] of fieldsOf(bytes, after)) {
    if (old.get(name)?.equals(value) !== true) names.push(escapeName(name));
    old.delete(name);
  }
  for (const name of old.keys()) names.push(escapeName(name));
  return names;
}

function fieldsOf(b: Buffer, place: number): Map<string, Buffer> {
  const fields = new Map<string, Buffer>();
  const element = newElement();
  for (let at = place + 4; readElement(b, at, element); at = element.next) {
    const value = Buffer.concat([Buffer.from([element.type]), b.subarray(element.at, element.next)]);
    fields.set(b.toString('utf8', element.keyStart, element.keyEnd), value);
  }
  return fields;
}

function joinNames(names: readonly string[]): string {
  return names.map(escapeName).join('.');
}

function escapeName(name: string): string {
  return SPECIAL.test(name) ? name.replace(/[.$\\]/g, '\\$&') : name;
}
