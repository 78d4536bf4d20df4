// Finds the parts of a record in its bytes, so that what is not needed is never parsed. For valid JSON only: the ledger's lines.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const SPACE = 0x20;

/** A member of a JSON object by its places in the bytes. */
export interface Member {
  /** The name as it stands between its quotes, escapes kept. */
  readonly name: string;
  /** The opening quote of the name. */
  readonly start: number;
  /** First byte of the value. */
  readonly valueStart: number;
  /** One past the value. */
  readonly end: number;
}

/** The members of the object that starts at or behind `from`; empty when something else stands there. */
export function membersOf(bytes: Uint8Array, from = 0): Member[] {
  const members: Member[] = [];
  let at = skipSpace(bytes, from);
  if (bytes[at] !== OPEN_OBJECT) return members;
  at = skipSpace(bytes, at + 1);
  while (bytes[at] === QUOTE) {
    const start = at;
    const nameEnd = skipString(bytes, at);
    at = skipSpace(bytes, nameEnd);
    if (bytes[at] !== COLON) break;
    const valueStart = skipSpace(bytes, at + 1);
    const end = skipValue(bytes, valueStart);
    members.push({ name: text(bytes, start + 1, nameEnd - 1), start, valueStart, end });
    at = skipSpace(bytes, end);
    if (bytes[at] !== COMMA) break;
    at = skipSpace(bytes, at + 1);
  }
  return members;
}

/** One past the member `name` of the object that starts at 0, or -1 when it has none. Nothing behind it is looked at. */
export function endOfMember(bytes: Buffer, name: string): number {
  const quoted = name.length + 2;
  let at = skipSpace(bytes, 0);
  if (bytes[at] !== OPEN_OBJECT) return -1;
  at = skipSpace(bytes, at + 1);
  while (bytes[at] === QUOTE) {
    const start = at;
    const nameEnd = skipString(bytes, at);
    at = skipSpace(bytes, nameEnd);
    if (bytes[at] !== COLON) return -1;
    at = skipValue(bytes, skipSpace(bytes, at + 1));
    if (nameEnd - start === quoted && bytes.toString('latin1', start + 1, nameEnd - 1) === name) return at;
    at = skipSpace(bytes, at);
    if (bytes[at] !== COMMA) return -1;
    at = skipSpace(bytes, at + 1);
  }
  return -1;
}

/** True when the value at `at` is an object. */
export function isObjectAt(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === OPEN_OBJECT;
}

/** The bytes `[start, end)` as text. */
export function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}

/** The value `[start, end)` parsed. */
export function parseAt(bytes: Uint8Array, start: number, end: number): unknown {
  return JSON.parse(text(bytes, start, end));
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at]! <= SPACE) at++;
  return at;
}

/** One past the closing quote of the string that opens at `from`. */
function skipString(bytes: Uint8Array, from: number): number {
  let at = from + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

/** One past the value that starts at `from`. */
function skipValue(bytes: Uint8Array, from: number): number {
  const first = bytes[from];
  if (first === QUOTE) return skipString(bytes, from);
  if (first !== OPEN_OBJECT && first !== OPEN_ARRAY) return skipScalar(bytes, from);
  let depth = 0;
  let at = from;
  do {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = skipString(bytes, at);
      continue;
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth++;
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) depth--;
    at++;
  } while (depth > 0 && at < bytes.length);
  return at;
}

function skipScalar(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at]!;
    if (byte === COMMA || byte === CLOSE_OBJECT || byte === CLOSE_ARRAY || byte <= SPACE) break;
    at++;
  }
  return at;
}
