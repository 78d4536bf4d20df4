import { z } from 'zod';
import type { AuditRecord } from '../schema.ts';
import { toCloudEvent } from './cloudevents.ts';
import { toDebezium } from './debezium.ts';
import { toEcs } from './ecs.ts';
import { toOcsf } from './ocsf.ts';

/** The shapes a record can be sent in. */
export const FORMATS = ['native', 'ecs', 'ocsf', 'cloudevents', 'debezium'] as const;
export type Format = (typeof FORMATS)[number];

/** The option `format` of every sink that takes JSON. */
export const formatOption = z.enum(FORMATS).default('native').meta({
  description:
    'Shape of the records: `native` (as in the ledger), `ecs` (Elastic Common Schema 9.4), `ocsf` (OCSF 1.8, Datastore Activity), `cloudevents` (CloudEvents 1.0), `debezium` (Debezium’s envelope).',
  example: 'ecs',
});

/** Makes another shape of a record. The result shares parts of the record; it is for `JSON.stringify` and not changed. */
export type Mapper = (record: AuditRecord) => unknown;

const MAPPERS: Readonly<Record<Format, Mapper | null>> = {
  native: null,
  ecs: toEcs,
  ocsf: toOcsf,
  cloudevents: toCloudEvent,
  debezium: toDebezium,
};

/** The mapper of a format; null for `native`: the bytes go out as they stand. */
export function mapperFor(format: Format): Mapper | null {
  return MAPPERS[format];
}
