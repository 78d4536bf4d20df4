/** Who is acting, as an application says it: the value the scope carries and every message is made of. */

/**
 * Who is acting and why. The keys named here describe the actor; every other key is context (a request id, a reason, a
 * ticket …) and stands in the record's `context`. Values are anything JSON can say.
 */
export interface Actor {
  /** The identity: an email address, a user id, a service name. */
  readonly id?: string;
  /** What kind of actor: `user`, `service`, `job`, `support` … */
  readonly type?: string;
  /** A name for people to read. */
  readonly name?: string;
  /** The application's session. */
  readonly session?: string;
  /** The address the request came from. */
  readonly client?: string;
  /** The application that acts. */
  readonly app?: string;
  /** Who the actor acts for: a support agent for a customer, a job for a user. */
  readonly on_behalf_of?: unknown;
  readonly [context: string]: unknown;
}

/** The keys that make one identity. They are never mixed from two actors. */
const IDENTITY_KEYS = ['id', 'type', 'name', 'session', 'on_behalf_of'] as const;

/** The keys of an actor in the order they are written; all others are context. */
export const ACTOR_KEYS: readonly string[] = ['id', 'type', 'name', 'session', 'client', 'app', 'on_behalf_of'];

/** Keys a message uses itself: a signed claim, and the names of what was cut. */
const RESERVED_KEYS: readonly string[] = ['claim', 'truncated'];

/**
 * Puts an actor over another one, as a nested scope does:
 *
 * - The outer actor's identity (`id`, `type`, `name`, `session`, `on_behalf_of`) is replaced as a whole as soon as the inner
 *   one has an `id`: two people are never mixed into one. Without an inner `id` it stays, and single keys may be added.
 * - Everything else (`client`, `app`, context) is inherited; the inner value wins, and `undefined` takes a key away.
 */
export function mergeActors(outer: Actor | undefined, inner: Actor): Actor {
  if (outer === undefined) return inner;
  const base: Record<string, unknown> = { ...outer };
  if (inner.id !== undefined) for (const key of IDENTITY_KEYS) delete base[key];
  return { ...base, ...inner };
}

/**
 * Refuses what would never be readable as an actor.
 * @throws TypeError when it is not an object, or uses a key the message needs itself.
 */
export function checkActor(actor: Actor): void {
  if (typeof actor !== 'object' || actor === null || Array.isArray(actor)) {
    throw new TypeError('changetrail: an actor is an object such as { id, type }.');
  }
  for (const key of RESERVED_KEYS) {
    if (Object.hasOwn(actor, key)) throw new TypeError(`changetrail: the key "${key}" of an actor is reserved.`);
  }
}
