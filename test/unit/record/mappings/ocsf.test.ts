import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { toOcsf } from '../../../../src/record/mappings/ocsf.ts';
import type { AuditRecord } from '../../../../src/record/schema.ts';
import { sampleRecords } from '../../../support/sample-records.ts';

const url = new URL('../../../vectors/schemas/ocsf-1.8.0-datastore_activity.schema.json', import.meta.url);
const ajv = new Ajv2020({ strict: false, allErrors: true });
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
const validate = ajv.compile(JSON.parse(readFileSync(url, 'utf8')));

const records = sampleRecords();
const first = records[0] as AuditRecord;
const out = (record: AuditRecord) => JSON.parse(JSON.stringify(toOcsf(record)));
const faults = (event: unknown) => (validate(event) ? [] : validate.errors);

/** @see https://schema.ocsf.io/1.8.0/classes/datastore_activity */
const ACTIVITIES: Record<number, string> = {
  1: 'Read',
  2: 'Update',
  3: 'Connect',
  4: 'Query',
  5: 'Write',
  6: 'Create',
  7: 'Delete',
  8: 'List',
  9: 'Encrypt',
  10: 'Decrypt',
  0: 'Unknown',
  99: 'Other',
};
const SEVERITIES = ['Unknown', 'Informational', 'Low', 'Medium', 'High', 'Critical', 'Fatal'];
const STATUSES = ['Unknown', 'Success', 'Failure'];

describe('OCSF', () => {
  test.each(records.map((record) => [record.source.engine, record.kind, record.action, record] as const))(
    '%s %s %s conforms to OCSF 1.8 Datastore Activity',
    (_engine, _kind, _action, record) => {
      const event = out(record);
      expect(faults(event)).toEqual([]);
      expect(event.type_uid).toBe(event.class_uid * 100 + event.activity_id);
      expect(event.class_uid).toBe(event.category_uid * 1000 + 5);
      const activity = ACTIVITIES[event.activity_id];
      expect(event.type_name).toBe(`Datastore Activity: ${activity}`);
      expect(event.activity_name).toBe(activity === 'Other' ? record.action : activity);
      expect(event.severity).toBe(SEVERITIES[event.severity_id]);
      expect(event.status).toBe(STATUSES[event.status_id]);
      expect(event.metadata).toMatchObject({ uid: record.id, sequence: record.index, profiles: ['datetime'] });
    },
  );

  test('the check itself finds faults', () => {
    expect(faults({ ...out(first), lost: 1 })).not.toEqual([]);
    expect(faults({ ...out(first), actor: {} })).not.toEqual([]);
    expect(faults({ ...out(first), time: 1795514400123456 })).not.toEqual([]);
  });

  test('time is in milliseconds, time_dt has the microseconds', () => {
    expect(out(first)).toMatchObject({ time: 1795514400123, time_dt: '2026-11-24T10:00:00.123456Z' });
    const late = { ...first, time: '2026-11-24T10:00:00.999999Z' };
    expect(out(late).time).toBe(1795514400999);
  });

  test('whatever the actor knows, there is an actor, and nobody is made up', () => {
    const actorOf = (actor: AuditRecord['actor']) => out({ ...first, actor } as AuditRecord).actor;
    const nobody = { user: { name: 'unknown', type_id: 0, type: 'Unknown' } };
    expect(actorOf({ assurance: 'none' })).toEqual(nobody);
    expect(actorOf(undefined)).toEqual(nobody);
    expect(actorOf({ assurance: 'verified', db_user: 'app' })).toEqual({ user: { name: 'app' } });
    expect(actorOf({ assurance: 'claimed', session: 's', app: 'api' })).toEqual({
      session: { uid: 's' },
      app_name: 'api',
    });
    for (const actor of [{ assurance: 'none' }, undefined, { assurance: 'claimed', app: 'api' }] as const) {
      for (const { kind } of records) expect(faults(out({ ...first, kind, actor } as AuditRecord))).toEqual([]);
    }
  });

  test('what has no place is unmapped', () => {
    const { action, source, object, actor, context, after } = first;
    expect(out(first).unmapped).toEqual(JSON.parse(JSON.stringify({ action, source, object, actor, context, after })));
  });
});
