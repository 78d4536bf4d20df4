import { readFileSync } from 'node:fs';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';

/** The bytes of a file that was named on the command line. @throws AUD_CLI_USAGE */
export function readInput(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const directory = systemCode(cause) === 'EISDIR';
    throw new AuditError('AUD_CLI_USAGE', {
      message: directory ? `${path} is a directory.` : `${path} cannot be read: ${messageOf(cause)}.`,
      action: directory ? 'A file is needed here.' : 'Give a file that is there and that this user may read.',
      cause,
    });
  }
}

/**
 * The checkpoint of a file: one as it is, or the one in a `head` record as JSON, also inside of what a sink made of it.
 * Whether it is one is for the caller to find out. @throws AUD_CLI_USAGE
 */
export function readHeadFile(path: string): Buffer {
  const bytes = readInput(path);
  const text = bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart();
  if (!/^[{[]/.test(text)) return bytes;
  let note: string | null;
  try {
    note = findNote(JSON.parse(text));
  } catch (cause) {
    throw new AuditError('AUD_CLI_USAGE', {
      message: `${path} is neither a checkpoint nor one JSON document.`,
      action: 'Give one head record to each --head, as the sink holds it.',
      cause,
    });
  }
  if (note !== null) return Buffer.from(note, 'utf8');
  throw new AuditError('AUD_CLI_USAGE', {
    message: `${path} holds no head: nothing in it is named "checkpoint".`,
    action: 'Give a record whose kind is "head" and whose action is "sign".',
  });
}

function findNote(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'checkpoint' && typeof inner === 'string') return inner;
    const found = findNote(inner);
    if (found !== null) return found;
  }
  return null;
}
