import { AuditError, messageOf } from '../errors/audit-error.ts';
import { CODES } from '../errors/codes.ts';

/** Says on standard error what went wrong and what to do; returns the exit code. A stack only for defects. */
export function reportFailure(error: unknown): number {
  const colour = process.stderr.isTTY === true && !process.env['NO_COLOR'];
  const red = (text: string) => (colour ? `\u001b[31m${text}\u001b[0m` : text);
  if (error instanceof AuditError && error.code !== 'AUD_INTERNAL') {
    process.stderr.write(`${red('changetrail:')} ${error.message}\n`);
    if (error.action !== undefined) process.stderr.write(`  → ${error.action}\n`);
    process.stderr.write(`  (${error.code})\n`);
    return CODES[error.code].exit;
  }
  process.stderr.write(`${red('changetrail: a defect:')} ${messageOf(error)}\n`);
  const stack = error instanceof Error ? ((error.cause as Error | undefined)?.stack ?? error.stack) : undefined;
  if (stack !== undefined) process.stderr.write(`${stack}\n`);
  return 3;
}
