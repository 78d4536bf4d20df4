import type { AuditRecord } from '../schema.ts';
import { databaseName, epochMicros, epochMillis } from './facts.ts';

const OPERATIONS: Readonly<Record<string, string>> = {
  insert: 'c',
  update: 'u',
  replace: 'u',
  delete: 'd',
  truncate: 't',
};

const CONNECTORS = { postgres: 'postgresql', mongodb: 'mongodb', changetrail: 'changetrail' } as const;

/**
 * A record as the value that Debezium's connectors write with the JSON converter and `schemas.enable=false`. Column values
 * keep Changetrail's forms. Records that Debezium has no event for are message events (`op: m`) whose content is the whole
 * record. What Debezium has no place for (id, actor, …) is under `changetrail`.
 * @see https://debezium.io/documentation/reference/stable/connectors/postgresql.html
 */
export function toDebezium(record: AuditRecord): Record<string, unknown> {
  const operation = operationOf(record);
  const times = { ts_ms: epochMillis(record.captured), ts_us: micros(record.captured), ts_ns: nanos(record.captured) };
  if (operation === undefined) {
    const content = Buffer.from(JSON.stringify(record)).toString('base64');
    return { op: 'm', source: source(record), message: { prefix: `changetrail.${record.kind}`, content }, ...times };
  }
  return {
    before: image(record, record.before),
    after: image(record, record.after),
    source: source(record),
    op: operation,
    ...times,
    changetrail: own(record),
  };
}

function operationOf({ kind, action, source: { engine } }: AuditRecord): string | undefined {
  if (engine === 'changetrail') return undefined;
  if (kind === 'baseline') return 'r';
  return kind === 'change' ? OPERATIONS[action] : undefined;
}

/** Debezium writes a MongoDB document as a text of JSON. */
function image({ source: { engine } }: AuditRecord, value: unknown): unknown {
  if (value === undefined || value === null) return null;
  return engine === 'mongodb' ? JSON.stringify(value) : value;
}

function source(record: AuditRecord): object {
  const { engine, name, lsn, ts, tx, seq } = record.source;
  const { schema, table, collection } = record.object;
  const common = {
    version: `changetrail.v${record.v}`,
    connector: CONNECTORS[engine],
    name,
    ts_ms: epochMillis(record.time),
    ts_us: micros(record.time),
    ts_ns: nanos(record.time),
    snapshot: record.kind === 'baseline' ? 'true' : 'false',
    db: databaseName(record),
  };
  if (engine !== 'mongodb') {
    return {
      ...common,
      schema,
      table,
      txId: numeric(tx),
      lsn: lsn === undefined ? undefined : lsnNumber(lsn),
    };
  }
  const [, increment] = ts?.split('.') ?? [];
  return { ...common, collection, ord: numeric(increment) ?? seq, lsid: tx };
}

/** All of the record but its images. */
function own({ before, after, ...rest }: AuditRecord): object {
  return rest;
}

function micros(time: string): number {
  return Number(epochMicros(time));
}

const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** Nanoseconds since 1970 are beyond what a double holds: written digit by digit. */
function nanos(time: string): unknown {
  return raw(String(epochMicros(time) * 1000n));
}

/** `16/B374D848` as the 64-bit number it is. */
function lsnNumber(lsn: string): unknown {
  const match = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(lsn);
  return match === null ? undefined : raw(String((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)));
}

function numeric(text: string | undefined): unknown {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
