/** `changetrail/context/koa`: a middleware for Koa that says who acts in everything a request causes. */
import type { Context, Middleware } from 'koa';
import { type RequestContextOptions, requestActor } from './request.ts';
import { withActorFrom } from './scope.ts';

export type { RequestContextOptions } from './request.ts';

/**
 * The middleware: actor, request id, client address (`ctx.ip`, which heeds `app.proxy`) and trace id. Put it first; the
 * actor is asked for later.
 *
 * @example
 * app.use(actorContext({ actor: (ctx) => ctx.state.user && { id: ctx.state.user.email, type: 'user' } }));
 */
export function actorContext(options: RequestContextOptions<Context> = {}): Middleware {
  return (context, next) => {
    const header = (name: string) => context.get(name) || undefined;
    return withActorFrom(requestActor({ request: context, header, client: context.ip || undefined }, options), next);
  };
}
