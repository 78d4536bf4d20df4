import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { AuditError, systemCode } from '../../errors/audit-error.ts';

/** The directory that holds `segments`. @throws AUD_LEDGER_MISSING */
export function findLedger(directory: string): string {
  for (const candidate of [join(directory, 'ledger'), directory]) {
    if (isThere(join(candidate, 'segments')) || isThere(join(candidate, 'checkpoint'))) return candidate;
  }
  throw new AuditError('AUD_LEDGER_MISSING', {
    message: `There is no ledger in ${directory}.`,
    action: 'Name the data directory or the ledger folder in it.',
  });
}

/** @throws AUD_LEDGER_MISSING when this user may not even look */
function isThere(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw new AuditError('AUD_LEDGER_MISSING', {
      message: `${path} cannot be looked at: ${code}.`,
      action: 'Run verify as a user who may read the ledger: files for reading, directories for reading and entering.',
      cause,
    });
  }
}
