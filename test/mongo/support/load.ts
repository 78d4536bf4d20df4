import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientSession, type Document, MongoClient, type Timestamp } from 'mongodb';
import { randomFrom } from '../../e2e/support/load.ts';

export interface LoadOptions {
  readonly url: string;
  readonly database: string;
  readonly seed: number;
  readonly workers: number;
}

/** Mixed writes and transactions, some with a context document, until stopped; a server that goes away is waited for. */
export class MongoLoad {
  readonly #options: LoadOptions;
  readonly #workers: Promise<void>[];
  #stopped = false;
  writes = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#workers = Array.from({ length: options.workers }, (_, i) => this.#work(i));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#workers);
  }

  async #work(worker: number): Promise<void> {
    const { url, database, seed } = this.#options;
    const random = randomFrom(seed * 31 + worker);
    await using client = new MongoClient(url, { serverSelectionTimeoutMS: 60_000, writeConcern: { w: 'majority' } });
    const db = client.db(database);
    while (!this.#stopped) {
      try {
        const id = worker * 1000 + Math.floor(random() * 30);
        const pick = random();
        const items = db.collection<Document & { _id: number }>('item');
        if (pick < 0.4) await items.updateOne({ _id: id }, { $inc: { n: 1 } }, { upsert: true });
        else if (pick < 0.5) await items.deleteOne({ _id: id });
        else if (pick < 0.6)
          await items.updateMany({ _id: { $gte: worker * 1000, $lt: worker * 1000 + 1000 } }, { $inc: { many: 1 } });
        else if (pick < 0.65) await items.replaceOne({ _id: id }, { big: 'x'.repeat(20_000) }, { upsert: true });
        else await client.withSession((session) => this.#transaction(client, session, worker, random));
        this.writes++;
      } catch (error) {
        if (!isTransient(error)) throw error;
        await sleep(20);
      }
      await sleep(random() * 10);
    }
  }

  /** Aborts one in four; the others name their worker as the actor of all their entries. */
  async #transaction(client: MongoClient, session: ClientSession, worker: number, random: () => number): Promise<void> {
    const db = client.db(this.#options.database);
    const count = random() < 0.1 ? 300 : 5;
    session.startTransaction();
    await db.collection('_changetrail_context').insertOne({ id: `worker-${worker}` }, { session });
    await db.collection('entry').insertMany(
      Array.from({ length: count }, (_, n) => ({ worker, n })),
      { session },
    );
    if (random() < 0.25) await session.abortTransaction();
    else await session.commitTransaction();
  }
}

function isTransient(error: unknown): boolean {
  const { name = '', codeName = '', message = '' } = error as { name?: string; codeName?: string; message?: string };
  const labels = (error as { errorLabels?: string[] }).errorLabels ?? [];
  return (
    /Network|Selection|PoolCleared|NotPrimary|Expired/.test(name) ||
    labels.length > 0 ||
    // A bulk write gives a lost connection as its own error, without a label.
    (name === 'MongoBulkWriteError' && /connection .* closed/.test(message)) ||
    /NotWritable|Interrupted|Shutdown|NoSuchTransaction/.test(codeName)
  );
}

/** One change as the driver's own change stream tells it. */
export interface Truth {
  readonly action: string;
  readonly collection: string;
  readonly key: string;
  readonly ts: string;
}

/** Everything that happened in the database since `from`, read with the driver as its documentation shows it. */
export async function truthSince(url: string, database: string, from: Timestamp): Promise<Truth[]> {
  await using client = new MongoClient(url);
  const db = client.db(database);
  const end = `end-${Math.random()}`;
  await db.collection<{ _id: string }>('end').insertOne({ _id: end }, { writeConcern: { w: 'majority' } });
  const stream = db.watch([], { startAtOperationTime: from, batchSize: 5000 });
  const all: Truth[] = [];
  try {
    for await (const event of stream) {
      if (!('documentKey' in event)) continue;
      if (event.operationType === 'insert' && String(event.documentKey._id) === end) return all;
      if (event.ns.coll === '_changetrail_context' || event.ns.coll === 'end') continue;
      const { t, i } = event.clusterTime as unknown as { t: number; i: number };
      all.push({
        action: event.operationType,
        collection: event.ns.coll,
        key: String(event.documentKey._id),
        ts: `${t}.${i}`,
      });
    }
  } finally {
    await stream.close();
  }
  throw new Error('the stream ended before the last write');
}
