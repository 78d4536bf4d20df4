/** A small shop on Express and pg, as it stands before it has heard of any audit trail. The steps beside it change nothing here. */
import express, { type Express, type Request, type RequestHandler } from 'express';
import type { Pool } from 'pg';

export interface User {
  readonly id: number;
  readonly email: string;
  readonly role: string;
}

/** Users by request, as a session library would keep them. */
const users = new WeakMap<Request, User>();

/** The authenticated user of a request, or undefined. */
export function userOf(request: Request): User | undefined {
  return users.get(request);
}

/** The shop. `first` are middlewares that come before everything else. */
export function createShop(pool: Pool, ...first: RequestHandler[]): Express {
  const shop = express();
  for (const middleware of first) shop.use(middleware);
  shop.use(express.json());
  shop.use(authenticate(pool));

  shop.patch('/users/:id', async (request, response) => {
    const { rowCount } = await pool.query('update users set email = $1 where id = $2', [
      request.body.email,
      request.params.id,
    ]);
    response.sendStatus(rowCount === 1 ? 204 : 404);
  });

  shop.post('/orders', async (request, response) => {
    const { product, quantity } = request.body;
    const order = await placeOrder(pool, userOf(request) as User, product, quantity);
    response.status(order === null ? 409 : 201).json({ order });
  });

  shop.delete('/orders/:id', async (request, response) => {
    await pool.query('delete from orders where id = $1', [request.params.id]);
    response.sendStatus(204);
  });
  return shop;
}

/** What the nightly job does: it has no request and no user. */
export async function repriceProducts(pool: Pool, percent: number): Promise<void> {
  await pool.query('update products set price_cents = price_cents * (100 + $1) / 100', [percent]);
}

/** Good enough for an example: the user is named by a header, as if a proxy had checked a password. */
function authenticate(pool: Pool): RequestHandler {
  return async (request, response, next) => {
    const { rows } = await pool.query<User>('select * from users where email = $1', [request.get('x-user') ?? '']);
    const user = rows[0];
    if (user === undefined) {
      response.sendStatus(401);
      return;
    }
    users.set(request, user);
    next();
  };
}

async function placeOrder(pool: Pool, user: User, product: number, quantity: number): Promise<number | null> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const taken = await client.query('update products set stock = stock - $2 where id = $1 and stock >= $2', [
      product,
      quantity,
    ]);
    const { rows } = await client.query<{ id: number }>(
      'insert into orders (user_id, product_id, quantity) select $1, $2, $3 where $4 returning id',
      [user.id, product, quantity, taken.rowCount === 1],
    );
    await client.query('commit');
    return rows[0]?.id ?? null;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
