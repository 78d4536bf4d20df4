import { isIP } from 'node:net';
import type { RecordFront } from '../parse.ts';

/** What several mappings need of a record. */

export const SCHEMA_URL = 'https://changetrail.dev/schema/record.v1.json';

/** `public.users`, `shop.orders`, or undefined when the record is not about a table or collection. */
export function objectName({ object }: RecordFront): string | undefined {
  const name = object.table ?? object.collection;
  if (name === undefined) return undefined;
  const parent = object.table === undefined ? object.database : object.schema;
  return parent === undefined ? name : `${parent}.${name}`;
}

/** The database the record is about. */
export function databaseName({ source, object }: RecordFront): string {
  return object.database ?? source.database ?? source.name;
}

/** A client as the source names it: an address that can be looked up, or only a text. */
export interface Client {
  readonly address: string;
  /** IPv4 or IPv6 without zone. */
  readonly ip?: string;
}

/** PostgreSQL prints a single address as `10.0.0.7/32`; MongoDB adds a port. */
export function clientOf(record: RecordFront): Client | undefined {
  const address = record.actor?.client;
  if (address === undefined || address === '') return undefined;
  const bare = address
    .replace(/\/(32|128)$/, '')
    .replace(/^\[(.*)\](:\d+)?$/, '$1')
    .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  return isIP(bare) !== 0 && !bare.includes('%') ? { address, ip: bare } : { address };
}

/** Milliseconds since 1970, cut (not rounded) from a time with microseconds. */
export function epochMillis(time: string): number {
  return Date.parse(`${time.slice(0, 23)}Z`);
}

/** Microseconds since 1970. */
export function epochMicros(time: string): bigint {
  const micros = time.length > 24 ? BigInt(time.slice(23, 26)) : 0n;
  return BigInt(epochMillis(time)) * 1000n + micros;
}

/** One line for people: what was done to what. No values and no keys. */
export function summary(record: RecordFront): string {
  const what = objectName(record) ?? record.source.name;
  const who = record.actor?.id === undefined ? '' : ` by ${record.actor.id}`;
  return record.kind === 'change' ? `${record.action} ${what}${who}` : `${record.kind} ${record.action} ${what}${who}`;
}

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;

/** The W3C trace context that the application sent along. @see https://www.w3.org/TR/trace-context/ */
export function traceOf(record: RecordFront): TraceContext | undefined {
  const match = TRACEPARENT.exec(String(record.context?.['traceparent'] ?? ''));
  const [, traceId, spanId] = match ?? [];
  if (traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId };
}

/** The object without the members that are undefined. */
export function defined<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T;
}

/** True for a JSON object (not an array, not null). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
