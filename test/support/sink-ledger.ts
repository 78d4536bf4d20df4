import { join } from 'node:path';
import type { ControlRecord } from '../../src/core/output.ts';
import { type OpenLedger, openLedger } from '../../src/ledger/ledger.ts';
import { temporaryDirectory } from './tmp.ts';

/** Fields of a record beyond `v` and `index`; what is not given is filled in by `sampleRecord`. */
export type RecordFields = Readonly<Record<string, unknown>> & { readonly id: string };

/** A ledger of its own for a test, written to by hand. */
export interface SinkLedger extends AsyncDisposable {
  readonly ledger: OpenLedger;
  /** Ids of all records written so far, in order. */
  readonly ids: string[];
  /** Records given to `control` so far. */
  readonly controls: ControlRecord[];
  cursorPath(name: string): string;
  deadLetterPath(name: string): string;
  /** Appends records and waits until they are durable. */
  write(records: Iterable<RecordFields>): Promise<void>;
  /** Appends `count` sample records whose ids start with `prefix`, spread over the last `spanMs` milliseconds if given. */
  fill(count: number, prefix?: string, spanMs?: number): Promise<void>;
  /** Appends a record as the pipeline does for a control record, without waiting. */
  control(record: ControlRecord): void;
}

export async function sinkLedger(options: { readonly segmentBytes?: number } = {}): Promise<SinkLedger> {
  const dir = await temporaryDirectory();
  const ledger = openLedger(dir.path, options);
  const ids: string[] = [];
  const controls: ControlRecord[] = [];
  const append = ({ id, ...rest }: RecordFields) => {
    ids.push(id);
    const out = ledger.writer.begin();
    out.ascii(',');
    out.bytes(Buffer.from(JSON.stringify({ id, ...rest }).slice(1)));
    ledger.writer.end();
  };
  const write = async (records: Iterable<RecordFields>) => {
    for (const record of records) {
      append(record);
      if (ledger.writer.full) await ledger.writer.drained();
    }
    await ledger.writer.flushed();
  };
  return {
    ledger,
    ids,
    controls,
    cursorPath: (name) => join(ledger.layout.cursors, `${name}.json`),
    deadLetterPath: (name) => join(ledger.layout.deadLetters, `${name}.ndjson`),
    write,
    async fill(count, prefix = 'shop', spanMs) {
      const from = ledger.writer.next;
      await write(spread(count, from, prefix, spanMs));
    },
    control(record) {
      controls.push(record);
      append(sampleControl(ledger.writer.next, record));
    },
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

function* spread(count: number, from: number, prefix: string, spanMs?: number): Generator<RecordFields> {
  const start = Date.now() - (spanMs ?? 0);
  for (let i = 0; i < count; i++) {
    const record = sampleRecord(from + i, prefix);
    if (spanMs === undefined) yield record;
    else {
      const captured = new Date(start + Math.floor((i * spanMs) / count)).toISOString();
      yield { ...record, time: captured.replace('Z', `${String(i % 1000).padStart(3, '0')}Z`), captured };
    }
  }
}

const ACTIONS = ['insert', 'update', 'delete'] as const;
const START = Date.now();

/** A change with everything a change can have, different for each `n`: text with quotes, line feeds and emoji, microseconds. */
export function sampleRecord(n: number, prefix = 'shop'): RecordFields {
  const action = ACTIONS[n % 3]!;
  const row = (email: string) => ({
    id: n % 97,
    email,
    note: `"quoted"\n\u0001 ü 🙂 ${n}`,
    price: '12.50',
    tags: ['a', 'b'],
  });
  const time = new Date(START + n).toISOString();
  return {
    id: `${prefix}:0/${(0x1a2b3c8 + n).toString(16).toUpperCase()}:${n % 4}`,
    kind: 'change',
    time: time.replace('Z', `${String(n % 1000).padStart(3, '0')}Z`),
    captured: time,
    source: {
      name: prefix,
      engine: 'postgres',
      database: 'shop',
      lsn: `0/${n.toString(16)}`,
      tx: String(700 + n),
      seq: n % 4,
    },
    action,
    object: { schema: 'public', table: n % 5 === 0 ? 'orders' : 'users', key: { id: n % 97 } },
    actor: {
      id: `user${n % 7}@example.com`,
      type: 'user',
      assurance: 'claimed',
      via: 'message',
      db_user: 'app',
      client: '10.0.0.7',
      app: 'api',
    },
    context: { request_id: `r-${n}`, reason: 'support ticket 881' },
    outcome: 'success',
    ...(action === 'update' ? { changed: ['email'] } : {}),
    ...(action === 'insert' ? {} : { before: row(`old${n}@example.com`) }),
    ...(action === 'delete' ? {} : { after: row(`new${n}@example.com`) }),
  };
}

function sampleControl(index: number, record: ControlRecord): RecordFields {
  const now = new Date().toISOString();
  return {
    id: `changetrail:${record.kind}:${index}`,
    kind: record.kind,
    time: now,
    captured: now,
    source: { name: 'changetrail', engine: 'changetrail', ...record.source },
    action: record.action,
    object: record.object ?? {},
    outcome: record.outcome ?? 'success',
    ...(record.details === undefined ? {} : { details: record.details }),
  };
}
