import { isUtf8 } from 'node:buffer';

/** Deeper values are replaced by a mark: no reader of a record needs them, and a hostile one must not exhaust the stack. */
export const MAX_DEPTH = 32;
/** Finds numbers, outside of strings as a rule, that a double may not hold as they are written. */
const LONG_NUMBER = /[[:,\s]-?(?:\d{16}|\d+[eE.])/;
const CUT_MARK = '…';
/** Room that a member's value must have: a cut string with its mark and quotes. */
const SMALLEST_VALUE = 8;
const TOO_DEEP = '"[too deep]"';
/** Names are listed up to this many and this long. */
const MAX_NAMES = 8;
const MAX_NAME_LENGTH = 64;

export type ParsedJson = { readonly value: unknown; readonly validUtf8: boolean } | null;

/**
 * Parses JSON that anybody may have written. Never throws: null means that it is no JSON. Broken UTF-8 becomes U+FFFD.
 * Of duplicate keys the last counts, as everywhere in JavaScript and jsonb. Numbers that a double would change are kept as
 * raw JSON (`JSON.rawJSON`).
 */
export function parseHostileJson(bytes: Uint8Array): ParsedJson {
  const validUtf8 = isUtf8(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  try {
    const value = LONG_NUMBER.test(text) ? JSON.parse(text, exactNumber) : JSON.parse(text);
    return { value, validUtf8 };
  } catch {
    return null;
  }
}

// Types of the reviver's third argument and of rawJSON are not in lib.es2024.
const exact = JSON as unknown as {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
};

function exactNumber(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined) return value;
  return String(value) === context.source ? value : exact.rawJSON(context.source);
}

/** The text of a scalar that names somebody: strings as they are, numbers by their digits; null for everything else. */
export function scalarText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  return exact.isRawJSON(value) ? value.rawJSON : null;
}

/** Writes JSON within a bound and remembers what it had to cut. One instance writes one record's share of text. */
export class BoundedJson {
  readonly cut: string[] = [];
  #left: number;

  /** `limit` in bytes of UTF-8. */
  constructor(limit: number) {
    this.#left = limit;
  }

  /** A JSON string of at most `limit` bytes; a longer text is cut at a character and ends with `…`. */
  text(name: string, value: string, limit: number): string {
    const whole = JSON.stringify(value.toWellFormed());
    const allowed = Math.min(limit, this.#left);
    const size = Buffer.byteLength(whole);
    if (size <= allowed) {
      this.#left -= size;
      return whole;
    }
    this.#remember(name);
    const short = cutText(value.toWellFormed(), allowed);
    this.#left -= Buffer.byteLength(short);
    return short;
  }

  /** Members of an object as JSON text by key; members that do not fit are cut (strings) or left out. */
  members(prefix: string, entries: Iterable<readonly [string, unknown]>): Map<string, string> {
    const out = new Map<string, string>();
    for (const [rawKey, value] of entries) {
      const key = rawKey.toWellFormed();
      const overhead = Buffer.byteLength(JSON.stringify(key)) + 2;
      if (overhead + SMALLEST_VALUE > this.#left) {
        this.#remember(prefix + key);
        continue;
      }
      this.#left -= overhead;
      const text = this.#member(prefix + key, value);
      if (text === null) this.#left += overhead;
      else out.set(key, text);
    }
    return out;
  }

  #member(name: string, value: unknown): string | null {
    if (typeof value === 'string') return this.text(name, value, this.#left);
    const text = this.#encode(name, value, 1);
    const size = Buffer.byteLength(text);
    if (size > this.#left) {
      this.#remember(name);
      return null;
    }
    this.#left -= size;
    return text;
  }

  #encode(name: string, value: unknown, depth: number): string {
    if (typeof value === 'string') return JSON.stringify(value.toWellFormed());
    if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
    if (exact.isRawJSON(value)) return value.rawJSON;
    if (depth >= MAX_DEPTH) {
      this.#remember(name);
      return TOO_DEEP;
    }
    if (Array.isArray(value)) return `[${value.map((item) => this.#encode(name, item, depth + 1)).join(',')}]`;
    const members = Object.entries(value).map(
      ([key, item]) => `${JSON.stringify(key.toWellFormed())}:${this.#encode(name, item, depth + 1)}`,
    );
    return `{${members.join(',')}}`;
  }

  #remember(name: string): void {
    const short = shortNames([name])[0]!;
    if (this.cut.length < MAX_NAMES && !this.cut.includes(short)) this.cut.push(short);
  }
}

/** The first few names, cut short: lists of names in a record are bounded, whoever made the names up. */
export function shortNames(names: readonly string[]): string[] {
  return names.slice(0, MAX_NAMES).map((name) => name.slice(0, MAX_NAME_LENGTH).toWellFormed());
}

/** The longest beginning of `value` whose JSON text with the mark is at most `bytes` long. */
function cutText(value: string, bytes: number): string {
  let low = 0;
  let high = Math.min(value.length, Math.max(bytes, 0));
  const encode = (length: number) => JSON.stringify(value.slice(0, length).toWellFormed() + CUT_MARK);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (Buffer.byteLength(encode(middle)) <= bytes) low = middle;
    else high = middle - 1;
  }
  // Half of a surrogate pair would have become U+FFFD.
  if (low > 0 && (value.charCodeAt(low - 1) & 0xfc00) === 0xd800) low--;
  return encode(low);
}

/** An object's text from the texts of its members. */
export function objectText(members: ReadonlyMap<string, string>): string {
  let out = '';
  for (const [key, text] of members) out += `${out === '' ? '' : ','}${JSON.stringify(key)}:${text}`;
  return `{${out}}`;
}
