import type { ControlRecord } from '../core/output.ts';
import { isoMillis } from '../record/envelope.ts';

export interface ControlOrigin {
  /** The source's name; `changetrail` for records about the ledger itself. */
  readonly name: string;
  readonly engine: 'postgres' | 'mongodb' | 'changetrail';
}

/** The text of a record about the trail itself, behind its index: `,"id":…}`. Rare, so made from objects. */
export function controlRecordText(record: ControlRecord, origin: ControlOrigin, index: number, nowMs: number): string {
  const time = isoMillis(nowMs);
  const body = {
    id: `${origin.name}:${record.kind}:${index}`,
    kind: record.kind,
    time,
    captured: time,
    source: { name: origin.name, engine: origin.engine, ...record.source },
    action: record.action,
    object: record.object ?? {},
    outcome: record.outcome ?? 'success',
    changed: record.changed,
    missing: record.missing,
    details: record.details,
    before: record.before,
    after: record.after,
  };
  return `,${JSON.stringify(body).slice(1)}`;
}
