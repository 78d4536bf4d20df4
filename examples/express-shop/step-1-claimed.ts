/** Three lines more: the pool carries the actor, a middleware says who it is, the job says what it is. */
import type { Express } from 'express';
import pg from 'pg';
import { actorContext } from '../../src/context/express.ts'; // In an application: 'changetrail/context/express'
import { withActor } from '../../src/context/index.ts'; // 'changetrail/context'
import { attachActor } from '../../src/context/pg.ts'; // 'changetrail/context/pg'
import { createShop, repriceProducts, userOf } from './shop.ts';

export function startShop(url: string): { shop: Express; nightly: () => Promise<void>; pool: pg.Pool } {
  const pool = attachActor(new pg.Pool({ connectionString: url }));
  const shop = createShop(
    pool,
    actorContext({
      actor: (request) => {
        const user = userOf(request);
        return user && { id: user.email, type: user.role, app: 'shop' };
      },
    }),
  );
  const nightly = () => withActor({ id: 'nightly-prices', type: 'job', app: 'shop' }, () => repriceProducts(pool, 5));
  return { shop, nightly, pool };
}
