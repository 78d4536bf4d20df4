import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A path in the cache of downloaded and prepared things: `.cache` of the checkout, or `CHANGETRAIL_CACHE`. */
export function cachePath(...parts: string[]): string {
  return join(process.env['CHANGETRAIL_CACHE'] ?? join(root, '.cache'), ...parts);
}

/**
 * Runs `work` while no other process runs one under the same name. The lock is the operating system's lock on a small SQLite file, so
 * it ends with the process that holds it and is never stale.
 */
export async function withCacheLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(cachePath('locks'), { recursive: true });
  const lock = new DatabaseSync(cachePath('locks', `${name}.lock`));
  try {
    while (!tryLock(lock)) await sleep(100);
    return await work();
  } finally {
    lock.close();
  }
}

function tryLock(lock: DatabaseSync): boolean {
  try {
    lock.exec('begin exclusive');
    return true;
  } catch (error) {
    if (/locked|busy/i.test((error as Error).message)) return false;
    throw error;
  }
}
