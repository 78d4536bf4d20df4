/**
 * `changetrail/context`: says who is acting. The part applications import; it depends on nothing but Node.
 *
 * The helpers that carry the actor into a database transaction are entries of their own: `changetrail/context/pg`,
 * `/postgres`, `/prisma`, `/drizzle`, `/kysely`, `/knex`, `/typeorm`, `/sequelize`, `/mikro-orm`, `/mongodb`, `/mongoose`;
 * so are the request middlewares `/express`, `/fastify`, `/koa` and `/hono`.
 */
export type { Actor } from './actor.ts';
export { actorMessage, MESSAGE_MAX_BYTES, type MessageOptions } from './message.ts';
export { bindActor, currentActor, withActor, withActorFrom, withoutActor } from './scope.ts';
export { type ClaimOptions, configureSigner, createSigner, type Signer, type SignerOptions } from './signer.ts';
