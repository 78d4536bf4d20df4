import type { AttributeValue } from '@opentelemetry/api';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableLogRecord } from '@opentelemetry/sdk-logs';
import type { RecordBatch } from '../../core/sink.ts';
import { clientOf, databaseName, defined, epochMicros, objectName, traceOf } from '../../record/mappings/facts.ts';
import { type Format, mapperFor } from '../../record/mappings/index.ts';
import { parseFront, parseRecord, type RecordFront } from '../../record/parse.ts';
import type { AuditRecord } from '../../record/schema.ts';

const SCOPE = { name: 'changetrail' };

/** OpenTelemetry's severity numbers. @see https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber */
const INFO = { severityNumber: 9, severityText: 'INFO' };
const WARN = { severityNumber: 13, severityText: 'WARN' };
const ERROR = { severityNumber: 17, severityText: 'ERROR' };

/** `db.system.name` as the semantic conventions call the engines. */
const SYSTEMS = { postgres: 'postgresql', mongodb: 'mongodb', changetrail: undefined } as const;

/** The resource that all log records of a sink belong to. */
export function otlpResource(attributes: Readonly<Record<string, string>> | undefined): Resource {
  return resourceFromAttributes({ 'service.name': 'changetrail', ...attributes });
}

/** Each record of a batch as an OpenTelemetry log record: JSON text as the body, what one searches by as attributes. */
export function otlpRecords(batch: RecordBatch, format: Format, resource: Resource): ReadableLogRecord[] {
  const mapper = mapperFor(format);
  const logs: ReadableLogRecord[] = [];
  let start = 0;
  for (const end of batch.ends) {
    const line = batch.bytes.subarray(start, end - 1);
    const record = mapper === null ? parseFront(line) : parseRecord(line);
    const body = mapper === null ? line.toString('utf8') : JSON.stringify(mapper(record as AuditRecord));
    logs.push(logRecord(record, body, resource));
    start = end;
  }
  return logs;
}

function logRecord(record: RecordFront, body: string, resource: Resource): ReadableLogRecord {
  const trace = traceOf(record);
  return {
    hrTime: hrTime(record.time),
    hrTimeObserved: hrTime(record.captured),
    ...severity(record),
    body,
    eventName: `changetrail.${record.kind}`,
    resource,
    instrumentationScope: SCOPE,
    attributes: attributes(record),
    droppedAttributesCount: 0,
    ...(trace === undefined ? {} : { spanContext: { ...trace, traceFlags: 1 } }),
  };
}

function severity({ kind, outcome }: RecordFront): typeof INFO {
  if (kind === 'gap') return ERROR;
  return kind === 'alert' || outcome === 'denied' ? WARN : INFO;
}

/** @see https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/ */
function attributes(record: RecordFront): Record<string, AttributeValue> {
  const { source, actor } = record;
  const own = source.engine === 'changetrail';
  return defined({
    'changetrail.id': record.id,
    'changetrail.index': record.index,
    'changetrail.kind': record.kind,
    'changetrail.source': source.name,
    'changetrail.outcome': record.outcome,
    'changetrail.actor.assurance': actor?.assurance,
    'changetrail.actor.type': actor?.type,
    'db.system.name': SYSTEMS[source.engine],
    'db.namespace': own ? undefined : databaseName(record),
    'db.collection.name': objectName(record),
    'db.operation.name': record.action,
    'user.id': actor?.id,
    'user.name': actor?.name ?? actor?.db_user,
    'client.address': clientOf(record)?.address,
  }) as Record<string, AttributeValue>;
}

/** Seconds and nanoseconds since 1970. */
function hrTime(time: string): [number, number] {
  const micros = epochMicros(time);
  return [Number(micros / 1_000_000n), Number(micros % 1_000_000n) * 1000];
}
