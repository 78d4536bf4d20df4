import { type PostgresMajor, providePostgres, type TestDatabase } from '../../support/provide.ts';

/** A message or a change of a committed transaction, in the order of the log. */
export interface Entry {
  readonly what: 'message' | 'insert' | 'update' | 'delete' | 'truncate';
  /** The message's text, or the first column of the row. */
  readonly text: string;
}

export interface Transaction {
  readonly xid: number;
  readonly entries: readonly Entry[];
}

/** A database with a slot that saw everything since it was made. */
export interface AuditedDatabase extends AsyncDisposable {
  readonly url: string;
  query: TestDatabase['query'];
  /** The committed transactions that changed a table or said something, in commit order. */
  transactions(): Promise<Transaction[]>;
}

/** A new database with `schema` run in it, and a logical slot made afterwards. */
export async function auditedDatabase(schema: string, major: PostgresMajor = 18): Promise<AuditedDatabase> {
  const server = await providePostgres({ major });
  const database = await server.createDatabase();
  await database.query(schema);
  await database.query('create publication everything for all tables');
  const slot = `${database.name}_slot`;
  await database.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [slot]);
  return {
    url: database.url,
    query: database.query,
    [Symbol.asyncDispose]: () => database.drop(),
    async transactions() {
      const { rows } = await database.query(
        `select data from pg_logical_slot_peek_binary_changes($1, null, null,
           'proto_version', '1', 'publication_names', 'everything', 'messages', 'true')`,
        [slot],
      );
      return decode(rows.map((row: { data: Buffer }) => row.data));
    },
  };
}

/** Who acted for each change: the `id` of the last message before it in its transaction; null without one. */
export function whoDidWhat(transactions: readonly Transaction[]): { text: string; actor: string | null }[] {
  return transactions.flatMap(({ entries }) => {
    let actor: string | null = null;
    return entries.flatMap((entry) => {
      if (entry.what === 'message') actor = (JSON.parse(entry.text) as { id?: string }).id ?? null;
      return entry.what === 'message' ? [] : [{ text: entry.text, actor }];
    });
  });
}

/** The first messages' objects, one a transaction, for transactions that have one. */
export function messagesOf(transactions: readonly Transaction[]): Record<string, unknown>[] {
  return transactions.flatMap(({ entries }) =>
    entries
      .filter((entry) => entry.what === 'message')
      .map((entry) => JSON.parse(entry.text) as Record<string, unknown>),
  );
}

/** Just as much of pgoutput as these tests look at. */
function decode(rows: readonly Buffer[]): Transaction[] {
  const transactions: { xid: number; entries: Entry[] }[] = [];
  for (const row of rows) {
    const kind = String.fromCharCode(row[0] as number);
    const open = transactions.at(-1)?.entries;
    if (kind === 'B') transactions.push({ xid: row.readUInt32BE(17), entries: [] });
    else if (kind === 'M') open?.push({ what: 'message', text: messageText(row) });
    else if (kind === 'I') open?.push({ what: 'insert', text: firstColumn(row, 6) });
    else if (kind === 'U') open?.push({ what: 'update', text: firstColumn(row, 6) });
    else if (kind === 'D') open?.push({ what: 'delete', text: firstColumn(row, 6) });
    else if (kind === 'T') open?.push({ what: 'truncate', text: '' });
  }
  return transactions.filter(({ entries }) => entries.length > 0);
}

function messageText(row: Buffer): string {
  const end = row.indexOf(0, 10);
  if (row.toString('utf8', 10, end) !== 'changetrail') throw new Error('a message of another prefix');
  return row.toString('utf8', end + 5, end + 5 + row.readUInt32BE(end + 1));
}

/** The text of the first column of the tuple at `at`; its count of columns (2 bytes) and kind (1 byte) come before. */
function firstColumn(row: Buffer, at: number): string {
  const length = row.readUInt32BE(at + 3);
  return row.toString('utf8', at + 7, at + 7 + length);
}
