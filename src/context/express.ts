/** `changetrail/context/express`: a middleware for Express that says who acts in everything a request causes. */
import type { Request, RequestHandler } from 'express';
import { type RequestContextOptions, requestActor } from './request.ts';
import { withActorFrom } from './scope.ts';

export type { RequestContextOptions } from './request.ts';

/**
 * The middleware: actor, request id, client address (`req.ip`, which heeds `trust proxy`) and trace id. Put it first; the
 * actor is asked for later.
 *
 * @example
 * app.use(actorContext({ actor: (req) => req.user && { id: req.user.email, type: 'user' } }));
 */
export function actorContext(options: RequestContextOptions<Request> = {}): RequestHandler {
  return (request, _response, next) => {
    const header = (name: string) => firstOf(request.headers[name]);
    withActorFrom(requestActor({ request, header, client: request.ip }, options), () => next());
  };
}

function firstOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}
