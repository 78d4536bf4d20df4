import type { AuditRecord } from '../schema.ts';
import { clientOf, databaseName, epochMillis, objectName, summary } from './facts.ts';

/** @see https://schema.ocsf.io/1.8.0/classes/datastore_activity */
export const OCSF_VERSION = '1.8.0';

const CLASS_UID = 6005;

interface Activity {
  readonly id: number;
  readonly name: string;
}

const READ: Activity = { id: 1, name: 'Read' };
const UPDATE: Activity = { id: 2, name: 'Update' };
const CREATE: Activity = { id: 6, name: 'Create' };
const DELETE: Activity = { id: 7, name: 'Delete' };

/** OCSF's activities are about data; definitions of tables, and the trail's own records, are `Other` by their own name. */
const CHANGE_ACTIVITIES: Readonly<Record<string, Activity>> = {
  insert: CREATE,
  update: UPDATE,
  replace: UPDATE,
  delete: DELETE,
  truncate: DELETE,
};

const DATABASE_TYPES = {
  postgres: { type_id: 1, type: 'Relational' },
  mongodb: { type_id: 6, type: 'NoSQL' },
  changetrail: { type_id: 99, type: 'Ledger' },
} as const;

const STATUSES = {
  success: { status_id: 1, status: 'Success' },
  failure: { status_id: 2, status: 'Failure' },
  denied: { status_id: 2, status: 'Failure' },
  unknown: { status_id: 0, status: 'Unknown' },
} as const;

const SEVERITIES: Readonly<Record<string, number>> = {
  Unknown: 0,
  Informational: 1,
  Low: 2,
  Medium: 3,
  High: 4,
  Critical: 5,
  Fatal: 6,
};

/** A record as an OCSF Datastore Activity event (profile `datetime`). What has no place there is under `unmapped`. */
export function toOcsf(record: AuditRecord): Record<string, unknown> {
  const activity = activityOf(record);
  const severity = severityOf(record);
  const table = objectName(record);
  return {
    activity_id: activity.id,
    activity_name: activity.name,
    category_uid: 6,
    category_name: 'Application Activity',
    class_uid: CLASS_UID,
    class_name: 'Datastore Activity',
    type_uid: CLASS_UID * 100 + activity.id,
    type_name: `Datastore Activity: ${activity.id === 99 ? 'Other' : activity.name}`,
    severity_id: SEVERITIES[severity],
    severity,
    ...STATUSES[record.outcome],
    status_code: record.outcome,
    time: epochMillis(record.time),
    time_dt: record.time,
    message: summary(record),
    metadata: metadata(record),
    actor: actor(record),
    src_endpoint: endpoint(record),
    type_id: table === undefined ? 1 : 3,
    type: table === undefined ? 'Database' : 'Table',
    database: { name: databaseName(record), ...DATABASE_TYPES[record.source.engine] },
    table: table === undefined ? undefined : { name: table },
    unmapped: unmapped(record),
  };
}

function activityOf({ kind, action }: AuditRecord): Activity {
  if (kind === 'baseline' || (kind === 'access' && action === 'read')) return READ;
  const known = kind === 'change' ? CHANGE_ACTIVITIES[action] : undefined;
  return known ?? { id: 99, name: action };
}

/** A gap is a hole in the evidence. An alert says its severity itself; what it does not say is not guessed. */
function severityOf({ kind, outcome, details }: AuditRecord): string {
  if (kind === 'gap') return 'High';
  if (kind !== 'alert') return outcome === 'denied' ? 'Medium' : 'Informational';
  const said = String(details?.['severity'] ?? '').toLowerCase();
  return Object.keys(SEVERITIES).find((name) => name.toLowerCase() === said) ?? 'Unknown';
}

function metadata(record: AuditRecord): object {
  return {
    version: OCSF_VERSION,
    profiles: ['datetime'],
    product: { name: 'Changetrail', vendor_name: 'Changetrail' },
    uid: record.id,
    sequence: record.index,
    event_code: record.kind,
    log_name: record.source.name,
    log_provider: record.source.engine,
    log_version: String(record.v),
    correlation_uid: record.source.tx,
    logged_time: epochMillis(record.captured),
    logged_time_dt: record.captured,
  };
}

/** OCSF wants an actor: where nobody is known it says so by `type_id` 0, Unknown. */
function actor(record: AuditRecord): object {
  const known = record.actor;
  if (known === undefined && isOwn(record)) return { app_name: 'changetrail' };
  const { id, name = id ?? known?.db_user, session, app } = known ?? {};
  const unknown =
    session === undefined && app === undefined ? { name: 'unknown', type_id: 0, type: 'Unknown' } : undefined;
  return {
    user: name === undefined ? unknown : { name, uid: id },
    session: session === undefined ? undefined : { uid: session },
    app_name: app,
  };
}

/** Records that changetrail makes about itself, not about somebody's deed. */
function isOwn({ kind, source }: AuditRecord): boolean {
  return source.engine === 'changetrail' || kind === 'capture' || kind === 'gap' || kind === 'head';
}

function endpoint(record: AuditRecord): object {
  const client = clientOf(record);
  const app = record.actor?.app;
  if (client === undefined && app === undefined)
    return isOwn(record) ? { svc_name: 'changetrail' } : { name: 'unknown' };
  const address = client?.ip === undefined ? { name: client?.address } : { ip: client.ip };
  return { ...address, svc_name: app };
}

function unmapped(record: AuditRecord): object {
  const { action, source, object, actor: who, context, changed, missing, redacted, details, before, after } = record;
  return { action, source, object, actor: who, context, changed, missing, redacted, details, before, after };
}
