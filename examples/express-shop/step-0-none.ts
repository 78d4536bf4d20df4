/** The shop as it is: every change is in the trail, and nobody is named. */
import type { Express } from 'express';
import pg from 'pg';
import { createShop, repriceProducts } from './shop.ts';

export function startShop(url: string): { shop: Express; nightly: () => Promise<void>; pool: pg.Pool } {
  const pool = new pg.Pool({ connectionString: url });
  const shop = createShop(pool);
  const nightly = () => repriceProducts(pool, 5);
  return { shop, nightly, pool };
}
