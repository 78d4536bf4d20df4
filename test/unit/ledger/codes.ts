import { AuditError } from '../../../src/errors/audit-error.ts';

/** The code of the AuditError that `work` throws. */
export function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof AuditError) return error.code;
    throw error;
  }
  return 'none';
}

/** The code of the AuditError that `work` rejects with. */
export async function codeOfAsync(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof AuditError) return error.code;
    throw error;
  }
  return 'none';
}
