// Inserts documents as the bytes they are: a driver would repair or refuse what the server takes.
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg

import { once } from 'node:events';
import { connect } from 'node:net';
import { BSON } from 'mongodb';

const OP_MSG = 2013;
const HEADER_BYTES = 16;

/** On a server without authentication. @throws Error with the server's answer when it refuses one. */
export async function insertRaw(
  server: { host: string; port: number },
  database: string,
  collection: string,
  documents: readonly Buffer[],
): Promise<void> {
  const socket = connect(server.port, server.host);
  try {
    await once(socket, 'connect');
    const command = BSON.serialize({
      insert: collection,
      $db: database,
      ordered: true,
      writeConcern: { w: 'majority' },
    });
    const name = Buffer.from('documents\0');
    const sequenceLength = 4 + name.length + documents.reduce((sum, d) => sum + d.length, 0);
    const body = Buffer.concat([
      int32(0),
      Buffer.from([0]),
      command,
      Buffer.from([1]),
      int32(sequenceLength),
      name,
      ...documents,
    ]);
    socket.write(Buffer.concat([int32(HEADER_BYTES + body.length), int32(1), int32(0), int32(OP_MSG), body]));
    const answer = await reply(socket);
    if (answer['n'] !== documents.length)
      throw new Error(`the server took ${answer['n']}: ${JSON.stringify(answer).slice(0, 500)}`);
  } finally {
    socket.destroy();
  }
}

async function reply(socket: AsyncIterable<Buffer>): Promise<BSON.Document> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.length >= 4 && bytes.length >= bytes.readInt32LE(0)) break;
  }
  return BSON.deserialize(bytes.subarray(HEADER_BYTES + 5));
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
