/** `changetrail/context/prisma`: carries the current actor into every transaction of Prisma's `pg` driver adapter. */
import type { AttachOptions } from './options.ts';
import { attachActor as attachToPool } from './pg.ts';

interface AdapterFactory {
  connect(): Promise<object>;
}

/**
 * Makes a `PrismaPg` adapter (of `@prisma/adapter-pg`) carry the current actor, and returns it. See `changetrail/context/pg`
 * for what is sent when; nested writes and interactive transactions are one transaction with one message.
 *
 * @throws TypeError, from the first query, when the adapter is not made of a `pg` pool.
 * @example
 * const prisma = new PrismaClient({ adapter: attachActor(new PrismaPg({ connectionString })) });
 */
export function attachActor<T extends AdapterFactory>(factory: T, options: AttachOptions = {}): T {
  const connect = factory.connect;
  factory.connect = async () => {
    const adapter = await connect.call(factory);
    const driver = (adapter as { underlyingDriver?(): object }).underlyingDriver?.();
    if (driver === undefined)
      throw new TypeError('changetrail: only the adapter @prisma/adapter-pg can carry the actor.');
    attachToPool(driver, options);
    return adapter;
  };
  return factory;
}
