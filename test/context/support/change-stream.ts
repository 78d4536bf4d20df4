import { type ChangeStream, type Document, MongoClient } from 'mongodb';
import { provideMongo } from '../../support/provide.ts';

/** A change of a collection; of context documents only the insert is kept, its document as `context`. */
export interface Change {
  readonly transaction: string | null;
  readonly operation: string;
  readonly collection: string;
  readonly document: Document;
}

export interface WatchedDatabase extends AsyncDisposable {
  readonly url: string;
  readonly client: MongoClient;
  /** Everything that happened so far, in the order of the change stream. */
  changes(): Promise<Change[]>;
}

/** A new database whose change stream is read from its beginning. */
export async function watchedDatabase(): Promise<WatchedDatabase> {
  const server = await provideMongo({ replicaSet: true });
  const database = server.createDatabase();
  const client = await new MongoClient(database.url).connect();
  // Something must be there before the stream can be opened, so that its first event is ours.
  await client.db().collection('first').insertOne({});
  const stream = client.db().watch([], {});
  await stream.tryNext();
  return {
    url: database.url,
    client,
    changes: () => readTo(stream, client),
    async [Symbol.asyncDispose]() {
      await stream.close();
      await client.close();
      await database.drop();
    },
  };
}

async function readTo(stream: ChangeStream, client: MongoClient): Promise<Change[]> {
  const { insertedId } = await client.db().collection('last').insertOne({});
  const changes: Change[] = [];
  for (;;) {
    const event = (await stream.next()) as Document;
    const collection = event['ns'].coll as string;
    if (collection === 'last' && insertedId.equals(event['documentKey']._id)) return changes;
    if (!['insert', 'update', 'delete'].includes(event['operationType'])) continue;
    const { lsid, txnNumber } = event;
    changes.push({
      transaction: txnNumber === undefined ? null : `${lsid.id.toString('hex')}/${txnNumber}`,
      operation: event['operationType'],
      collection,
      document: event['fullDocument'] ?? event['documentKey'],
    });
  }
}

/** The name of each inserted document with the `id` of the last context document before it in its transaction. */
export function whoInserted(changes: readonly Change[], collection: string): { name: string; actor: string | null }[] {
  const actors = new Map<string, string>();
  return changes.flatMap((change) => {
    const { transaction, operation, document } = change;
    if (operation !== 'insert') return [];
    if (change.collection === '_changetrail_context' && transaction !== null) actors.set(transaction, document['id']);
    if (change.collection !== collection) return [];
    return [{ name: document['name'], actor: transaction === null ? null : (actors.get(transaction) ?? null) }];
  });
}
