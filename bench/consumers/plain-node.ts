// What a TypeScript user writes first: pg-logical-replication as its documentation shows it, one JSON.stringify a change.
import { createWriteStream } from 'node:fs';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';

const env = process.env;
const expected = Number(env['EXPECTED']);
const out = createWriteStream(env['OUT']!);
const service = new LogicalReplicationService({
  host: env['PGHOST'],
  port: Number(env['PGPORT']),
  user: env['PGUSER'],
  database: env['PGDATABASE'],
});
let count = 0;
service.on('data', (lsn, message) => {
  if (count >= expected || (message.tag !== 'insert' && message.tag !== 'update' && message.tag !== 'delete')) return;
  const before = 'old' in message ? (message.old ?? message.key ?? null) : null;
  const after = 'new' in message ? message.new : null;
  out.write(
    `${JSON.stringify({ op: message.tag, lsn, schema: message.relation.schema, table: message.relation.name, before, after })}\n`,
  );
  if (++count === expected) out.end(() => process.exit(0));
});
service.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
service.subscribe(new PgoutputPlugin({ protoVersion: 1, publicationNames: [env['PUBLICATION']!] }), env['SLOT']!);
