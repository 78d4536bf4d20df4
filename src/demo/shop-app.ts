// A believable day in a small shop, in seconds: customers, a support agent with a reason, a nightly job, a fix by hand that
// nobody signs, a bulk delete and a TRUNCATE. Every one of them writes as such people and programs do.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { type Actor, withActor } from '../context/index.ts';
import { attachActor } from '../context/pg.ts';
import { wait } from '../wait.ts';

const CUSTOMERS: readonly { readonly id: number; readonly actor: Actor }[] = [
  { id: 1, actor: { id: 'zoe@example.com', type: 'user', name: 'Zoë Martin', client: '203.0.113.7' } },
  { id: 2, actor: { id: 'bo@example.com', type: 'user', name: 'Bo Li', client: '198.51.100.23' } },
  { id: 3, actor: { id: 'amara@example.com', type: 'user', name: 'Amara Okafor', client: '192.0.2.61' } },
];
const SUPPORT: Actor = {
  id: 'sam@shop.example',
  type: 'support',
  name: 'Sam (support)',
  reason: 'ticket 881: customer moved house',
};
const NIGHTLY: Actor = { id: 'job:nightly-restock', type: 'job', run: 'nightly-2026-11-24' };
const PRODUCTS = ['KETTLE-1', 'MUG-BLUE', 'TEA-ASSAM'] as const;

/** One person or program doing one thing. */
type Scene = (shop: Shop, round: number) => Promise<void>;

const SCENES: readonly Scene[] = [
  placeOrder,
  placeOrder,
  changeAddress,
  fillCart,
  placeOrder,
  refund,
  restock,
  fixByHand,
  clearCarts,
  placeOrder,
  truncateCache,
];

/** Both ways into the database: the application's pool, and a console as an administrator opens it. */
interface Shop {
  readonly pool: pg.Pool;
  readonly console: pg.Client;
}

const PAUSE_MS = 350;

/** Plays the scenes one after the other until the signal aborts. */
export async function runShop(url: string, signal: AbortSignal): Promise<void> {
  const pool = attachActor(new pg.Pool({ connectionString: url, application_name: 'shop-api', max: 4 }));
  const console = new pg.Client({ connectionString: url, application_name: 'psql' });
  pool.on('error', () => undefined);
  console.on('error', () => undefined);
  await console.connect();
  try {
    for (let round = 0; !signal.aborted; round++) {
      await SCENES[round % SCENES.length]!({ pool, console }, round);
      await wait(PAUSE_MS, signal);
    }
  } finally {
    await Promise.allSettled([pool.end(), console.end()]);
  }
}

async function placeOrder({ pool }: Shop, round: number): Promise<void> {
  const customer = CUSTOMERS[round % CUSTOMERS.length]!;
  const sku = PRODUCTS[round % PRODUCTS.length]!;
  await withActor(customer.actor, async () => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query(
        `insert into orders (customer_id, total, items) select $1, price, jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1)) from products where sku = $2`,
        [customer.id, sku],
      );
      await client.query('update products set stock = stock - 1 where sku = $1', [sku]);
      await client.query('commit');
    } finally {
      client.release();
    }
  });
}

async function changeAddress({ pool }: Shop, round: number): Promise<void> {
  const phone = `+41 44 000 ${String(10 + (round % 90))} 01`;
  await withActor(SUPPORT, () =>
    pool.query('update customers set phone = $1, tier = $2 where id = 1', [
      phone,
      round % 2 === 0 ? 'gold' : 'standard',
    ]),
  );
}

async function fillCart({ pool }: Shop): Promise<void> {
  await withActor(CUSTOMERS[1]!.actor, async () => {
    const cart = randomUUID();
    for (const sku of PRODUCTS)
      await pool.query('insert into cart_items values ($1, $2, $3)', [cart, sku, 1 + Math.trunc(Math.random() * 3)]);
  });
}

async function refund({ pool }: Shop): Promise<void> {
  const actor = { ...SUPPORT, on_behalf_of: 'amara@example.com', reason: 'ticket 902: kettle arrived broken' };
  await withActor(actor, () =>
    pool.query(`update orders set status = 'refunded' where id = (select max(id) from orders where status = 'placed')`),
  );
}

async function restock({ pool }: Shop): Promise<void> {
  await withActor(NIGHTLY, () => pool.query('update products set stock = 200 where stock < 200'));
}

/** Nobody says who this is: the trail says so too. */
async function fixByHand({ console }: Shop): Promise<void> {
  await console.query(`update orders set total = total - 1 where id = (select min(id) from orders)`);
}

async function clearCarts({ pool }: Shop): Promise<void> {
  await withActor({ id: 'job:cart-cleaner', type: 'job' }, () => pool.query('delete from cart_items'));
}

async function truncateCache({ console }: Shop): Promise<void> {
  await console.query(`insert into search_cache values ('tea', '["TEA-ASSAM"]')`);
  await console.query('truncate search_cache');
}
