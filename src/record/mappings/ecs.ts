import { isRawNumber } from '../parse.ts';
import type { AuditRecord } from '../schema.ts';
import { clientOf, isObject, summary, traceOf } from './facts.ts';

/** @see https://www.elastic.co/docs/reference/ecs */
export const ECS_VERSION = '9.4.0';

interface EventClass {
  readonly kind: 'event' | 'state' | 'alert';
  readonly category?: readonly string[];
  readonly type?: readonly string[];
}

const DATABASE = ['database'];

/**
 * The categorization fields of each kind. Category `database` knows only the types access, change, info and error, so that
 * an insert is a change too; what exactly was done is in `event.action`. A record that an application sent in is not
 * categorized: what it is about is not known.
 */
const CLASSES: Readonly<Record<AuditRecord['kind'], EventClass>> = {
  change: { kind: 'event', category: DATABASE, type: ['change'] },
  baseline: { kind: 'state', category: DATABASE, type: ['info'] },
  schema: { kind: 'event', category: [...DATABASE, 'configuration'], type: ['change'] },
  capture: { kind: 'event', category: DATABASE, type: ['info'] },
  gap: { kind: 'alert', category: DATABASE, type: ['error'] },
  head: { kind: 'state', category: DATABASE, type: ['info'] },
  access: { kind: 'event', category: DATABASE, type: ['access'] },
  alert: { kind: 'alert', category: DATABASE, type: ['info'] },
  event: { kind: 'event' },
  policy: { kind: 'event', category: ['configuration'], type: ['change'] },
  attribution: { kind: 'event', category: DATABASE, type: ['info'] },
};

/** `service.type` as Elastic’s own integrations call the engines. */
const SERVICE_TYPES = { postgres: 'postgresql', mongodb: 'mongodb', changetrail: 'changetrail' } as const;

/** A record as a document of the Elastic Common Schema. What has no place there is under `changetrail`. */
export function toEcs(record: AuditRecord): Record<string, unknown> {
  const { kind, category, type } = CLASSES[record.kind];
  const client = clientOf(record);
  const endpoint = client === undefined ? undefined : { address: client.address, ip: client.ip };
  const trace = traceOf(record);
  return {
    '@timestamp': record.time,
    ecs: { version: ECS_VERSION },
    message: summary(record),
    event: {
      id: record.id,
      sequence: record.index,
      kind,
      category,
      type,
      action: record.action,
      outcome: record.outcome === 'denied' ? 'failure' : record.outcome,
      created: record.captured,
      module: 'changetrail',
      dataset: `changetrail.${record.kind}`,
      provider: record.source.engine,
    },
    service: { name: record.source.name, type: SERVICE_TYPES[record.source.engine] },
    user: user(record),
    client: endpoint,
    source: endpoint,
    related: related(record, client?.ip),
    trace: trace === undefined ? undefined : { id: trace.traceId },
    span: trace === undefined ? undefined : { id: trace.spanId },
    changetrail: own(record),
  };
}

/** The application's user is the user; whose rights the database checked is the effective one. */
function user({ actor }: AuditRecord): object | undefined {
  if (actor === undefined) return undefined;
  const { id, name, db_user } = actor;
  if (id === undefined && name === undefined) return db_user === undefined ? undefined : { name: db_user };
  return { id, name, effective: db_user === undefined ? undefined : { name: db_user } };
}

function related({ actor }: AuditRecord, ip: string | undefined): object | undefined {
  const users = [actor?.id, actor?.name, actor?.db_user].filter((text) => text !== undefined);
  if (users.length === 0 && ip === undefined) return undefined;
  return {
    user: users.length === 0 ? undefined : [...new Set(users)],
    ip: ip === undefined ? undefined : [ip],
  };
}

/** The record itself, but what ECS has a field of the same value for. Free-form parts are made fit for `flattened`. */
function own(record: AuditRecord): Record<string, unknown> {
  const { actor, object } = record;
  return {
    version: record.v,
    kind: record.kind,
    outcome: record.outcome === 'denied' ? record.outcome : undefined,
    source: record.source,
    object: { ...object, key: asFlattened(object.key), old_key: asFlattened(object.old_key) },
    actor: actor === undefined ? undefined : { ...actor, on_behalf_of: asFlattened(actor['on_behalf_of']) },
    changed: record.changed,
    redacted: record.redacted,
    context: asFlattened(record.context),
    missing: asFlattened(record.missing),
    details: asFlattened(record.details),
    before: asFlattened(record.before),
    after: asFlattened(record.after),
  };
}

/** Elasticsearch refuses a `flattened` field that is nested deeper than 20. @see its mapping parameter `depth_limit` */
const FLATTENED_DEPTH = 18;

/**
 * The value as an object that a `flattened` field takes: anything else than an object is wrapped as `value`, what is
 * nested too deeply becomes its JSON text, and the two kinds of key it refuses, empty ones and ones with a NUL, are written `""` and `\u0000`.
 * Null and undefined stay.
 */
export function asFlattened(value: unknown): unknown {
  if (value === null || value === undefined) return value;
  if (!isObject(value) || isRawNumber(value)) return { value: fits(value, 2) ? value : flat(value, 2) };
  return fits(value, 1) ? value : flat(value, 1);
}

/** Whether a value can be taken as it is: nearly all can, and are not copied. */
function fits(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null || isRawNumber(value)) return true;
  if (depth >= FLATTENED_DEPTH) return false;
  if (Array.isArray(value)) return value.every((item) => fits(item, depth + 1));
  for (const key in value) {
    if (flatKey(key) !== key || !fits((value as Record<string, unknown>)[key], depth + 1)) return false;
  }
  return true;
}

function flat(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || isRawNumber(value)) return value;
  if (depth >= FLATTENED_DEPTH) return JSON.stringify(value);
  if (Array.isArray(value)) return value.map((item) => flat(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [flatKey(key), flat(item, depth + 1)]));
}

function flatKey(key: string): string {
  if (key === '') return '""';
  return key.includes('\0') ? key.replaceAll('\0', '\\u0000') : key;
}
