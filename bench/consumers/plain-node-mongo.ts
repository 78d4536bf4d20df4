// What a TypeScript user writes first: `watch()` as the driver's documentation shows it, one EJSON.stringify a change.
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { BSON, MongoClient } from 'mongodb';

const env = process.env;
const expected = Number(env['EXPECTED']);
const out = createWriteStream(env['OUT']!);
const client = new MongoClient(env['MONGO_URL']!);
const stream = client
  .db('perf')
  .collection('orders')
  .watch([], {
    startAfter: { _data: env['TOKEN'] },
    fullDocument: 'whenAvailable',
    fullDocumentBeforeChange: 'whenAvailable',
  });
let count = 0;
for await (const change of stream) {
  if (!out.write(`${BSON.EJSON.stringify(change)}\n`)) await once(out, 'drain');
  if (++count === expected) break;
}
out.end(() => process.exit(0));
