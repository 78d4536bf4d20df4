/** The text an actor travels in: one JSON object, bounded in size, pure ASCII so that no database encoding can refuse it. */
import { ACTOR_KEYS, type Actor } from './actor.ts';
import { currentActor } from './scope.ts';
import { type ClaimOptions, configuredSigner, type Signer } from './signer.ts';

/** Largest message in bytes. */
export const MESSAGE_MAX_BYTES = 65_536;
/** Largest actor inside a claim: base64url grows it by a third, header, times and signature come on top. */
const SIGNED_MAX_BYTES = 47_000;
/** Room for `,"truncated":[…]`. */
const MARK_BYTES = 2_048;
const MARK_KEY_BYTES = ',"truncated":'.length;
const MARK_MAX_KEYS = 16;
const MARK_MAX_KEY_LENGTH = 64;
/** A shorter rest of a text says nothing. */
const MIN_CUT_LENGTH = 16;
/** Deeper values are left out: readers of the trail need not be able to follow them. */
const MAX_DEPTH = 32;

export interface MessageOptions {
  /** Signs the message; default: the signer given to `configureSigner`; `null`: not signed. */
  readonly signer?: Signer | null;
}

/** A message taken at one moment, to be sent later and perhaps elsewhere. */
export interface PendingMessage {
  /** The actor as JSON: two messages with the same body say the same. */
  readonly body: string;
  /** Whether `text` wants the id of the transaction it will be sent in. */
  readonly bindTransaction: boolean;
  /** The text to send: the body, or a claim made for this call. */
  text(options?: ClaimOptions): string;
}

/**
 * The message for the current actor: JSON text, pure ASCII, at most 64 KiB. Text that does not fit is cut, a value that
 * cannot be written is left out, and `truncated` names both. With a signer: `{"claim":"…"}`, a new one each time. Undefined
 * when nobody is acting. For drivers without a helper of their own; it goes into
 * `select pg_logical_emit_message(true, 'changetrail', $1)` as the first statement of a transaction.
 */
export function actorMessage(options: MessageOptions & ClaimOptions = {}): string | undefined {
  return pendingMessage(options)?.text(options);
}

/** Takes the message for the current actor, or undefined when nobody is acting. */
export function pendingMessage(options: MessageOptions = {}): PendingMessage | undefined {
  const actor = currentActor();
  if (actor === undefined) return undefined;
  const signer = options.signer === undefined ? configuredSigner() : options.signer;
  if (signer === null) {
    const body = encodeActor(actor, MESSAGE_MAX_BYTES);
    return { body, bindTransaction: false, text: () => body };
  }
  const body = encodeActor(actor, SIGNED_MAX_BYTES);
  const text = (claim?: ClaimOptions) => `{"claim":"${signer.sign(body, claim)}"}`;
  return { body, bindTransaction: signer.bindTransaction, text };
}

/** Writes an actor as JSON of at most `maxBytes` ASCII characters: the actor's own keys first, then context in its order. */
export function encodeActor(actor: Actor, maxBytes: number = MESSAGE_MAX_BYTES): string {
  const keys = [...ACTOR_KEYS.filter((key) => Object.hasOwn(actor, key)), ...Object.keys(actor).filter(isContextKey)];
  const cut: string[] = [];
  let room = maxBytes - MARK_BYTES - 2;
  let body = '';
  for (const key of keys) {
    const value = readValue(actor, key);
    if (value === undefined) continue;
    const name = `${body === '' ? '' : ','}${asciiJson(JSON.stringify(key))}:`;
    const text = value === UNWRITABLE ? undefined : fitInto(value, room - name.length);
    if (text !== value) cut.push(key);
    if (text === undefined) continue;
    body += name + text;
    room -= name.length + text.length;
  }
  return cut.length === 0 ? `{${body}}` : `{${body}${body === '' ? '' : ','}"truncated":${markOf(cut)}}`;
}

const UNWRITABLE = Symbol('unwritable');

function isContextKey(key: string): boolean {
  return !ACTOR_KEYS.includes(key);
}

/** The value as ASCII JSON text; undefined when there is none; UNWRITABLE for a cycle, a getter that throws, or too deep. */
function readValue(actor: Actor, key: string): string | undefined | typeof UNWRITABLE {
  try {
    const text = JSON.stringify(actor[key], bigintAsText);
    if (text === undefined) return undefined;
    return deeperThan(text, MAX_DEPTH) ? UNWRITABLE : asciiJson(text);
  } catch {
    return UNWRITABLE; // The application's own write must not fail over its context; the mark says what is missing.
  }
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

/** `text` when it fits into `room`; a JSON string cut to it; undefined when nothing sensible is left. */
function fitInto(text: string, room: number): string | undefined {
  if (text.length <= room) return text;
  if (!text.startsWith('"') || room < MIN_CUT_LENGTH) return undefined;
  let at = 1;
  let last = at;
  for (;;) {
    const step = text[at] !== '\\' ? 1 : text[at + 1] === 'u' ? 6 : 2;
    if (at + step > room - 1) break;
    last = at;
    at += step;
  }
  // Half of a surrogate pair is not text.
  if (/^\\ud[89ab]/.test(text.slice(last, at))) at = last;
  return `${text.slice(0, at)}"`;
}

function markOf(keys: readonly string[]): string {
  const named = keys.slice(0, MARK_MAX_KEYS).map((key) => key.slice(0, MARK_MAX_KEY_LENGTH));
  const more = keys.length > MARK_MAX_KEYS ? ['...'] : [];
  const text = asciiJson(JSON.stringify([...named, ...more]));
  return text.length <= MARK_BYTES - MARK_KEY_BYTES ? text : '["..."]';
}

/** JSON text with everything beyond ASCII as \u escapes: valid in every server and client encoding. */
function asciiJson(text: string): string {
  return text.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Whether JSON text nests arrays and objects deeper than `limit`. */
function deeperThan(text: string, limit: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === 0x22) {
      for (at++; text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > limit) return true;
    } else if (unit === 0x7d || unit === 0x5d) depth--;
  }
  return false;
}
