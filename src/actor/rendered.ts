import { BoundedJson, objectText, scalarText } from './bounded-json.ts';
import type { ActorRules } from './rules.ts';

/** Longest text of one field of an actor, in bytes of JSON. */
export const MAX_FIELD_BYTES = 1024;
/** All of an actor's own fields together. */
const MAX_ACTOR_BYTES = 8 * MAX_FIELD_BYTES;
/** All of a record's `context`. */
export const MAX_CONTEXT_BYTES = 64 * 1024;

const ACTOR_KEYS = ['id', 'type', 'name', 'session', 'client', 'app', 'on_behalf_of'] as const;
/** Keys of a message that describe the actor; every other key belongs to the context. */
export const ACTOR_KEY_SET: ReadonlySet<string> = new Set(ACTOR_KEYS);

/** An actor and a context as finished JSON text. */
export interface Rendered {
  /** Members of `actor` without braces (`"id":"alice","type":"user"`); empty when nobody is named. */
  readonly identity: string;
  /** The context's members, as JSON text by key. */
  readonly context: ReadonlyMap<string, string>;
  /** Names of what was cut, as `context.note` or `name`. */
  readonly cut: readonly string[];
}

export const NOBODY: Rendered = { identity: '', context: new Map(), cut: [] };

/** True when a message names somebody. */
export function hasId(members: ReadonlyMap<string, unknown>): boolean {
  const id = scalarText(members.get('id'));
  return id !== null && id !== '';
}

/** An actor and context from the members of a message; without an id everything is context. */
export function renderMessage(members: ReadonlyMap<string, unknown>, rules: ActorRules): Rendered {
  const id = scalarText(members.get('id'));
  if (id === null || id === '') return renderContext(members);
  const actor = new BoundedJson(MAX_ACTOR_BYTES);
  const fields: string[] = [];
  const rest: [string, unknown][] = [];
  const labels = rules.id(id.slice(0, MAX_FIELD_BYTES));
  for (const key of ACTOR_KEYS) {
    const value = members.get(key) ?? (key === 'type' || key === 'name' ? labels[key] : undefined);
    if (value === undefined || value === null) continue;
    const text = scalarText(value);
    if (text !== null) fields.push(`"${key}":${actor.text(key, text, MAX_FIELD_BYTES)}`);
    else if (key === 'on_behalf_of' && typeof value === 'object') fields.push(`"${key}":${behalf(value, actor)}`);
    else rest.push([key, value]);
  }
  for (const member of members) if (!ACTOR_KEY_SET.has(member[0])) rest.push(member);
  const context = new BoundedJson(MAX_CONTEXT_BYTES);
  return {
    identity: fields.join(','),
    context: context.members('context.', rest),
    cut: [...actor.cut, ...context.cut],
  };
}

/** Only a context. */
export function renderContext(members: Iterable<readonly [string, unknown]>): Rendered {
  const context = new BoundedJson(MAX_CONTEXT_BYTES);
  return { identity: '', context: context.members('context.', members), cut: context.cut };
}

/** An actor whose id was found in another tool's message, with that message as the context. */
export function renderNamed(id: string, members: Iterable<readonly [string, unknown]>, rules: ActorRules): Rendered {
  const actor = renderMessage(new Map([['id', id]]), rules);
  const context = renderContext(members);
  return { identity: actor.identity, context: context.context, cut: [...actor.cut, ...context.cut] };
}

function behalf(value: object, actor: BoundedJson): string {
  const entries = Object.entries(value).filter(([key]) => ACTOR_KEY_SET.has(key));
  const members = new Map<string, string>();
  for (const [key, item] of entries) {
    const text = scalarText(item);
    if (text !== null) members.set(key, actor.text(`on_behalf_of.${key}`, text, MAX_FIELD_BYTES));
  }
  return objectText(members);
}
