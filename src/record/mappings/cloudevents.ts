import type { AuditRecord } from '../schema.ts';
import { objectName, SCHEMA_URL } from './facts.ts';
import { orderKey } from './key.ts';

/** Digits of `sequence`: enough for every safe integer, so that texts sort as numbers do. */
const SEQUENCE_DIGITS = 16;

/**
 * A record as a CloudEvent in structured JSON form; `data` is the record as it stands. With the extensions `sequence` (the
 * place in the ledger) and `partitionkey` (the same for all events of a row).
 * @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
 */
export function toCloudEvent(record: AuditRecord): Record<string, unknown> {
  return {
    specversion: '1.0',
    id: record.id,
    source: `/changetrail/${encodeURIComponent(record.source.name)}`,
    type: `dev.changetrail.${record.kind}.v${record.v}`,
    subject: objectName(record),
    time: record.time,
    datacontenttype: 'application/json',
    dataschema: SCHEMA_URL,
    sequence: String(record.index).padStart(SEQUENCE_DIGITS, '0'),
    partitionkey: orderKey(record),
    data: record,
  };
}
