/** The current actor of asynchronous work, kept in an AsyncLocalStorage that all copies of this library in a process share. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type Actor, checkActor, mergeActors } from './actor.ts';

/** Gives the actor when asked, so that a user who signs in later in the request is seen. */
type Scope = () => Actor | undefined;

// Two installed versions, or a bundler's copy beside the package, must see the same actor.
const STORAGE = Symbol.for('changetrail.context.v1');
const shared = globalThis as { [STORAGE]?: AsyncLocalStorage<Scope> };
shared[STORAGE] ??= new AsyncLocalStorage<Scope>();
const storage = shared[STORAGE];

/**
 * Runs `fn` with `actor` as the acting one, in everything it calls and awaits, and returns what it returns. Safe in
 * concurrent and nested use: an inner actor with an `id` replaces the outer identity as a whole; client, app and context are
 * inherited, inner values win, `undefined` removes a key. Without an `id` it only adds to the outer actor.
 *
 * A query that `fn` gives back and that runs only when it is awaited (Prisma, Drizzle, Knex …) is started here, in the
 * actor's scope, and comes back as a promise of its result.
 *
 * @throws TypeError when `actor` is not an object or uses the reserved keys `claim` or `truncated`.
 * @example
 * await withActor({ id: 'alice@example.com', type: 'user', reason: 'ticket 881' }, () => renameUser(42));
 */
export function withActor<T>(actor: Actor, fn: () => PromiseLike<T>): Promise<T>;
export function withActor<T>(actor: Actor, fn: () => T): T;
export function withActor(actor: Actor, fn: () => unknown): unknown {
  checkActor(actor);
  const own = { ...actor };
  const outer = storage.getStore();
  return storage.run(outer === undefined ? () => own : () => mergeActors(outer(), own), started, fn);
}

/**
 * Like `withActor`, with an actor that is looked up each time it is needed: for a middleware that runs before the user is
 * known. `resolve` must be quick and synchronous; what it throws comes out of the database call that asked.
 */
export function withActorFrom<T>(resolve: () => Actor | undefined, fn: () => PromiseLike<T>): Promise<T>;
export function withActorFrom<T>(resolve: () => Actor | undefined, fn: () => T): T;
export function withActorFrom(resolve: () => Actor | undefined, fn: () => unknown): unknown {
  const outer = storage.getStore();
  const scope = () => {
    const own = resolve();
    if (own === undefined) return outer?.();
    checkActor(own);
    return mergeActors(outer?.(), own);
  };
  return storage.run(scope, started, fn);
}

/** Runs `fn` with nobody acting: for work that outlives the request it was started from. */
export function withoutActor<T>(fn: () => PromiseLike<T>): Promise<T>;
export function withoutActor<T>(fn: () => T): T;
export function withoutActor(fn: () => unknown): unknown {
  return storage.exit(started, fn);
}

/** Who is acting here, or undefined. */
export function currentActor(): Actor | undefined {
  return storage.getStore()?.();
}

/** Ties a callback to the actor of the place where `bindActor` is called, wherever it is called from later. */
export function bindActor<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
  const scope = storage.getStore();
  return (...args) => (scope === undefined ? storage.exit(fn, ...args) : storage.run(scope, fn, ...args));
}

/** Calls `fn`, and starts what it gives back when that is a promise only in name: it would run in the scope of who awaits it. */
function started(fn: () => unknown): unknown {
  const result = fn();
  if (typeof (result as PromiseLike<unknown> | null)?.then !== 'function') return result;
  if ((result as object).constructor === Promise) return result;
  return new Promise((resolve, reject) => {
    (result as PromiseLike<unknown>).then(resolve, reject);
  });
}
