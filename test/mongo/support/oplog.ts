import type { Document, MongoClient } from 'mongodb';
import { until } from '../../support/wait.ts';

/**
 * Writes until the oplog, of `sizeMb` at most, no longer holds what is its newest entry now. The server looks once a minute
 * whether it is larger than it may be.
 */
export async function rollOplog(client: MongoClient, sizeMb: number): Promise<void> {
  const newest = await oplogEnd(client, -1);
  const big = client.db('filler').collection<Document>('big');
  const write = () => big.insertOne({ filler: 'x'.repeat(1024 * 1024) });
  for (let i = 0; i < 4 * sizeMb; i++) await write();
  const rolled = async () => {
    await write();
    return (await oplogEnd(client, 1)) > newest;
  };
  await until(rolled, { what: 'the oplog to roll over', timeoutMs: 240_000 });
  await big.drop();
}

/** The time of the oldest (1) or the newest (-1) entry, as one number. */
async function oplogEnd(client: MongoClient, order: 1 | -1): Promise<number> {
  const [entry] = await client
    .db('local')
    .collection('oplog.rs')
    .find({}, { projection: { ts: 1 } })
    .sort({ $natural: order })
    .limit(1)
    .toArray();
  const { t, i } = entry!['ts'] as { t: number; i: number };
  return t * 2 ** 32 + i;
}
