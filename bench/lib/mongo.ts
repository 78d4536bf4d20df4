// The server and the data of the MongoDB workload: changes of one collection with pre- and post-images, half inserts, two
// fifths updates, a tenth deletes, one oplog entry each.
import { createHash } from 'node:crypto';
import {
  type AnyBulkWriteOperation,
  type Collection,
  Decimal128,
  type Document,
  Long,
  MongoClient,
  UUID,
} from 'mongodb';
import { DEFAULT_OPLOG_VIEW } from '../../connectors/mongodb/options.ts';
import { oplogView } from '../../connectors/mongodb/setup.ts';
import type { MongoServer } from '../../test/support/mongo-server.ts';
import { provideMongo } from '../../test/support/provide.ts';

export interface MongoBacklog {
  readonly server: MongoServer;
  /** What a consumer needs: MONGO_URL, TOKEN to start behind, START_AT as int64 and START_TS as `seconds.increment`. */
  readonly environment: Readonly<Record<string, string>>;
}

interface Order extends Document {
  readonly _id: number;
}

/** Blocks of ten changes in one round trip. */
const BLOCKS_AT_ONCE = 20;
const BLOCK = 10;

/**
 * A server that does nothing else while it is measured, with `changes` changes behind the token. It has logins and the view
 * on the oplog, so that each change has a user to be found.
 */
export async function prepareMongo(changes: number): Promise<MongoBacklog> {
  const server = await provideMongo({
    replicaSet: true,
    fresh: true,
    auth: true,
    oplogSizeMb: 4000,
  });
  await server.command({ setParameter: 1, wiredTigerEngineRuntimeConfig: 'cache_size=2G' });
  await using client = new MongoClient(server.url);
  const { database, command } = oplogView(DEFAULT_OPLOG_VIEW);
  await client.db(database).command(command);
  const db = client.db('perf');
  const orders = await db.createCollection<Order>('orders', { changeStreamPreAndPostImages: { enabled: true } });
  await orders.insertMany([1, 2, 3, 4, 5].map(order));
  const token = await currentToken(orders);
  for (let block = 1; block <= changes / BLOCK; block += BLOCKS_AT_ONCE) {
    const last = Math.min(block + BLOCKS_AT_ONCE - 1, changes / BLOCK);
    await orders.bulkWrite(range(block, last).flatMap(blockOf), { ordered: true });
  }
  const seconds = Number.parseInt(token.slice(2, 10), 16);
  const increment = Number.parseInt(token.slice(10, 18), 16);
  const startAt = (BigInt(seconds) << 32n) | BigInt(increment + 1);
  const environment = {
    MONGO_URL: server.url,
    TOKEN: token,
    START_AT: String(startAt),
    START_TS: `${seconds}.${increment + 1}`,
  };
  return { server, environment };
}

async function currentToken(orders: Collection<Order>): Promise<string> {
  const stream = orders.watch();
  await stream.tryNext();
  const token = (stream.resumeToken as { _data: string })._data;
  await stream.close();
  return token;
}

/** Five inserts, four updates and a delete of the five before. */
function blockOf(block: number): AnyBulkWriteOperation<Order>[] {
  const previous = 5 * (block - 1);
  return [1, 2, 3, 4, 5].flatMap((k): AnyBulkWriteOperation<Order>[] => {
    const insert = { insertOne: { document: order(5 * block + k) } };
    if (k === 3) return [insert, { deleteOne: { filter: { _id: previous + 3 } } }];
    const set = { paid: (previous + k) % 2 === 0, updatedAt: new Date(), 'attrs.qty': 7 };
    return [insert, { updateOne: { filter: { _id: previous + k }, update: { $set: set } } }];
  });
}

function order(i: number): Order {
  const note = i % 20 === 1 ? 'say "hi"\nback\\slash \t é 日本 😀' : `plain note number ${i}`;
  return {
    _id: i,
    customer: `customer-${md5(i)}`,
    note: i % 20 === 0 ? null : note,
    attrs: {
      sku: md5(i * 7),
      qty: i % 50,
      tags: ['a', 'b', md5(i)],
      ship: { city: 'Zürich', zip: 10_000 + (i % 90_000), gift: i % 2 === 0 },
      ua: md5(i * 3).slice(0, 24),
    },
    amount: Decimal128.fromString((((i * 7919) % 1_000_000) / 100).toFixed(2)),
    paid: i % 3 === 0,
    ref: new UUID(md5(i * 11)),
    big: Long.fromNumber(i * 1e10),
    updatedAt: new Date(1_735_689_600_000 + i * 1337),
  };
}

function md5(value: number): string {
  return createHash('md5').update(String(value)).digest('hex');
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
