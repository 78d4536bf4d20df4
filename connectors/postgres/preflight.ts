// What the server is and lets us do, looked at before anything is changed.
import { AuditError } from '../../src/errors/audit-error.ts';
import type { ControlClient } from './client.ts';
import { parseLsn } from './lsn.ts';

const OLDEST_VERSION = 140_000;

export interface ServerFacts {
  readonly versionNumber: number;
  readonly version: string;
  readonly major: number;
  readonly walLevel: string;
  readonly encoding: string;
  readonly database: string;
  readonly user: string;
  readonly mayReplicate: boolean;
  readonly superuser: boolean;
  readonly inRecovery: boolean;
  /** End of the log (or of what was replayed, on a standby). */
  readonly end: bigint;
  readonly maxSlotKeepMb: number;
}

const FACTS_SQL = `
select current_setting('server_version_num')::int as version_number, current_setting('server_version') as version,
  current_setting('wal_level') as wal_level, current_setting('server_encoding') as encoding, current_database()::text as database,
  current_user::text as user, r.rolreplication or r.rolsuper as may_replicate, r.rolsuper as superuser,
  pg_catalog.pg_is_in_recovery() as in_recovery,
  (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_flush_lsn() end)::text as "end",
  current_setting('max_slot_wal_keep_size') as keep
from pg_catalog.pg_roles r where r.rolname = current_user`;

export async function readServerFacts(client: ControlClient): Promise<ServerFacts> {
  const [row] = await client.query<Record<string, unknown>>(FACTS_SQL);
  const versionNumber = Number(row!['version_number']);
  return {
    versionNumber,
    version: String(row!['version']),
    major: Math.trunc(versionNumber / 10_000),
    walLevel: String(row!['wal_level']),
    encoding: String(row!['encoding']),
    database: String(row!['database']),
    user: String(row!['user']),
    mayReplicate: row!['may_replicate'] === true,
    superuser: row!['superuser'] === true,
    inRecovery: row!['in_recovery'] === true,
    end: parseLsn(String(row!['end'])),
    maxSlotKeepMb: Number.parseInt(String(row!['keep']), 10),
  };
}

/** @throws AUD_PG_VERSION, AUD_PG_WAL_LEVEL, AUD_PG_RIGHTS: the ones no waiting mends. */
export function requireCapable(facts: ServerFacts, source: string): void {
  if (facts.versionNumber < OLDEST_VERSION) {
    throw new AuditError('AUD_PG_VERSION', {
      message: `The server of source ${source} is PostgreSQL ${facts.version}.`,
      action: 'PostgreSQL 14 or later is needed.',
    });
  }
  if (facts.inRecovery) {
    throw new AuditError('AUD_PG_STANDBY', {
      message: `The server of source ${source} is a standby.`,
      action: 'Give the url of the primary, or promote this server; it is tried again.',
      retry: 'after_operator',
    });
  }
  if (facts.walLevel !== 'logical') {
    throw new AuditError('AUD_PG_WAL_LEVEL', {
      message: `The server of source ${source} has wal_level = ${facts.walLevel}; logical is needed.`,
      action: 'Run: alter system set wal_level = logical;  then restart the server.',
    });
  }
  if (!facts.mayReplicate) {
    throw new AuditError('AUD_PG_RIGHTS', {
      message: `The user ${facts.user} of source ${source} may not replicate.`,
      action: `Run as a superuser: alter role "${facts.user}" replication;`,
    });
  }
}
