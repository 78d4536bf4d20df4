import { type ParsedClaim, parseClaim } from '../context/claim.ts';
import { parseHostileJson, shortNames } from './bounded-json.ts';
import { ACTOR_KEY_SET, hasId, NOBODY, type Rendered, renderContext, renderMessage, renderNamed } from './rendered.ts';
import { type ActorRules, scalarAt } from './rules.ts';

/** A longer message is not read: parsing it would hold up everybody else's changes. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;

export type MessageVia = 'message' | 'bemi' | 'sequin';

/** What one message says, made once per distinct text. */
export interface Message {
  readonly via: MessageVia;
  /** What counts while nothing is verified. Made when it is asked for. */
  said(): Rendered;
  /** What is wrong with it, or null. */
  readonly reason: string | null;
  readonly signed: SignedMessage | null;
}

export interface SignedMessage {
  readonly claim: ParsedClaim;
  /** What counts when the claim is verified: of the actor only what was signed. */
  verified(): Rendered;
  /** Keys of the context that stand beside the claim and are not signed. */
  readonly unsigned: readonly string[];
}

/** Reads a message of any dialect. Never throws, whatever the bytes. */
export function readMessage(via: MessageVia, bytes: Uint8Array, rules: ActorRules): Message {
  if (bytes.length > MAX_MESSAGE_BYTES) return broken(via, 'message_too_large');
  const parsed = parseHostileJson(bytes);
  // Bemi takes `null` for an empty context.
  const value = parsed?.value === null && via === 'bemi' ? {} : parsed?.value;
  if (parsed === null || typeof value !== 'object' || value === null || Array.isArray(value)) {
    return broken(via, 'message_invalid');
  }
  const members = new Map(Object.entries(value));
  const message = via === 'message' ? readOwn(members, rules) : readDialect(via, value, members, rules);
  return parsed.validUtf8 ? message : { ...message, reason: 'message_invalid_utf8', signed: null };
}

function broken(via: MessageVia, reason: string): Message {
  return { via, said: () => NOBODY, reason, signed: null };
}

function readDialect(
  via: 'bemi' | 'sequin',
  value: object,
  members: ReadonlyMap<string, unknown>,
  rules: ActorRules,
): Message {
  for (const path of rules.options.dialects[via]) {
    const id = scalarAt(value, path);
    if (id === null || id === '') continue;
    return { via, said: () => renderNamed(id, members, rules), reason: null, signed: null };
  }
  return {
    via,
    said: () => renderContext(members),
    reason: members.size === 0 ? null : 'message_without_id',
    signed: null,
  };
}

function readOwn(members: Map<string, unknown>, rules: ActorRules): Message {
  const compact = members.get('claim');
  const say = (said: ReadonlyMap<string, unknown>) => () => renderMessage(said, rules);
  if (typeof compact !== 'string') {
    return { via: 'message', said: say(members), reason: hasId(members) ? null : 'message_without_id', signed: null };
  }
  members.delete('claim');
  const claim = parseClaim(compact);
  if (claim === null) return { via: 'message', said: say(members), reason: 'claim_malformed', signed: null };
  const claimed = new Map(Object.entries(claim.payload.actor));
  const signed: SignedMessage = {
    claim,
    verified: say(new Map([...withoutActor(members), ...claimed])),
    unsigned: shortNames([...members.keys()].filter((key) => !claimed.has(key) && !ACTOR_KEY_SET.has(key))),
  };
  return { via: 'message', said: say(new Map([...members, ...claimed])), reason: null, signed };
}

/** What stands beside a verified claim is context at most: an unsigned field must not look like a signed one. */
function withoutActor(members: ReadonlyMap<string, unknown>): Map<string, unknown> {
  return new Map([...members].filter(([key]) => !ACTOR_KEY_SET.has(key)));
}
