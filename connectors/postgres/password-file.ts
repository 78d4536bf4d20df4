// The password file of libpq, read when a server asks for a password that is given nowhere else.
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { AuditError } from '../../src/errors/audit-error.ts';

export interface PasswordFor {
  /** Name or address, or the directory of a socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

const OTHERS = 0o077;

/**
 * The password in the file PGPASSFILE, else ~/.pgpass; undefined without a file or a line that fits.
 * @throws AUD_PG_AUTH when others may read the file: then it is not used.
 * @see https://www.postgresql.org/docs/current/libpq-pgpass.html
 */
export async function passwordFromFile(wanted: PasswordFor): Promise<string | undefined> {
  const file = process.env['PGPASSFILE'] || defaultFile();
  const found = await stat(file).catch(() => null);
  if (found === null || !found.isFile()) return undefined;
  if (process.platform !== 'win32' && (found.mode & OTHERS) !== 0) {
    throw new AuditError('AUD_PG_AUTH', {
      message: `The password file ${file} may be read by others and is not used.`,
      action: `Run: chmod 600 ${file}`,
      retry: 'after_operator',
    });
  }
  const text = await readFile(file, 'utf8').catch(() => '');
  return findPassword(text, wanted);
}

function defaultFile(): string {
  if (process.platform === 'win32') return join(process.env['APPDATA'] ?? '', 'postgresql', 'pgpass.conf');
  return join(process.env['HOME'] || homedir(), '.pgpass');
}

/** The password of the first line `host:port:database:user:password` that fits. */
export function findPassword(text: string, { host, port, database, user }: PasswordFor): string | undefined {
  const hosts = host.startsWith('/') ? [host, 'localhost'] : [host];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const fields = fieldsOf(line);
    if (fields.length < 5) continue;
    const [ofHost, ofPort, ofDatabase, ofUser, password] = fields as [string, string, string, string, string];
    const fits =
      [...hosts, '*'].includes(ofHost) &&
      [String(port), '*'].includes(ofPort) &&
      [database, '*'].includes(ofDatabase) &&
      [user, '*'].includes(ofUser);
    if (fits) return password;
  }
  return undefined;
}

/** A colon or a backslash in a field has a backslash before it. */
function fieldsOf(line: string): string[] {
  return [...`${line}:`.matchAll(/((?:\\.|[^:\\])*):/g)].map((match) => match[1]!.replace(/\\(.)/g, '$1'));
}
