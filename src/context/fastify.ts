/** `changetrail/context/fastify`: a plugin for Fastify that says who acts in everything a request causes. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Actor } from './actor.ts';
import { type RequestContextOptions, requestActor } from './request.ts';
import { withActorFrom } from './scope.ts';

export type { RequestContextOptions } from './request.ts';

/**
 * Adds the hooks: actor, request id, client address (`request.ip`, which heeds `trustProxy`) and trace id. Call it before
 * the routes are registered; the actor is asked for later. The request id is `x-request-id`, or Fastify's own id when
 * `requestId: (request) => request.id` is given.
 *
 * @example
 * actorContext(fastify, { actor: (request) => request.user && { id: request.user.email, type: 'user' } });
 */
export function actorContext(fastify: FastifyInstance, options: RequestContextOptions<FastifyRequest> = {}): void {
  const actors = new WeakMap<object, () => Actor>();
  fastify.addHook('onRequest', (request, _reply, done) => {
    const header = (name: string) => firstOf(request.headers[name]);
    const actor = requestActor({ request, header, client: request.ip }, options);
    actors.set(request, actor);
    withActorFrom(actor, done);
  });
  // The body is read in between, by events of the socket: what follows would run outside of the scope.
  fastify.addHook('preValidation', (request, _reply, done) => {
    withActorFrom(actors.get(request) ?? (() => undefined), done);
  });
}

function firstOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}
