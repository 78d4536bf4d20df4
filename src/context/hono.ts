/** `changetrail/context/hono`: a middleware for Hono that says who acts in everything a request causes. */
import type { Context, Env, MiddlewareHandler } from 'hono';
import { type RequestContextOptions, requestActor } from './request.ts';
import { withActorFrom } from './scope.ts';

export type { RequestContextOptions } from './request.ts';

/**
 * The middleware: actor, request id, client address and trace id. The address is the socket's under `@hono/node-server`;
 * elsewhere, or behind a proxy, give `client`. Put it first; the actor is asked for later.
 *
 * @example
 * app.use(actorContext({ actor: (c) => c.get('user') && { id: c.get('user').email, type: 'user' } }));
 */
export function actorContext<E extends Env = Env>(
  options: RequestContextOptions<Context<E>> = {},
): MiddlewareHandler<E> {
  return (context, next) => {
    const header = (name: string) => context.req.header(name);
    return withActorFrom(requestActor({ request: context, header, client: socketAddress(context.env) }, options), next);
  };
}

function socketAddress(env: unknown): string | undefined {
  const { incoming } = (env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress;
}
