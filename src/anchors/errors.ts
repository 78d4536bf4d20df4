import { AuditError, messageOf } from '../errors/audit-error.ts';

/** An anchor that did not answer, or not as it should. */
export function anchorFailed(name: string, why: unknown, action?: string): AuditError {
  return new AuditError('AUD_LEDGER_ANCHOR', {
    message: `The anchor ${name} failed: ${typeof why === 'string' ? why : messageOf(why)}.`,
    retry: 'soon',
    cause: why,
    ...(action === undefined ? {} : { action }),
  });
}
