import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AuditError, messageOf } from '../errors/audit-error.ts';
import { replaceFile } from './file-ops.ts';

/**
 * The right to write a data directory, held by one process. The operating system's lock (through SQLite's exclusive
 * transaction) ends with the process however it dies, so no stale lock is ever left; the pid beside it is only for people.
 */
export class DirectoryLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws AUD_LEDGER_LOCKED with the holder's pid. */
  static acquire(data: string): DirectoryLock {
    const holder = join(data, 'lock.json');
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(join(data, 'lock'));
      database.exec('pragma locking_mode = exclusive; pragma journal_mode = memory; begin exclusive;');
    } catch (cause) {
      database?.close();
      if (/locked/.test(messageOf(cause))) throw held(data, holder);
      throw new AuditError('AUD_LEDGER_WRITE', {
        message: `Cannot lock ${data}: ${messageOf(cause)}.`,
        action: 'Make the data directory writable for this user, then start again.',
        retry: 'after_operator',
        cause,
      });
    }
    try {
      replaceFile(holder, `${JSON.stringify({ pid: process.pid, since: new Date().toISOString() })}\n`);
    } catch (error) {
      database.close();
      throw error;
    }
    return new DirectoryLock(database);
  }

  /** Idempotent. */
  release(): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

function held(data: string, holder: string): AuditError {
  let pid: number | undefined;
  try {
    pid = (JSON.parse(readFileSync(holder, 'utf8')) as { pid?: number }).pid;
  } catch {
    // The holder has not written its pid yet; the refusal stands without it.
  }
  return new AuditError('AUD_LEDGER_LOCKED', {
    message: `${data} is written by another process${pid === undefined ? '' : ` (pid ${pid})`}.`,
    action: `Stop ${pid === undefined ? 'that process' : `process ${pid}`}, or use another data directory.`,
    data: { pid },
  });
}
