import { appendFileSync, readFileSync } from 'node:fs';
import process from 'node:process';

/** One way to come to a server that tests need, and why it did not work. */
export interface Attempt {
  readonly way: string;
  readonly why: string;
}

/** No way led to a server: every one is listed with its reason, and what to do. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError';
  readonly tried: readonly Attempt[];

  constructor(what: string, tried: readonly Attempt[], action: string) {
    super([`no ${what}. Tried:`, ...tried.map(({ way, why }) => `  - ${way}: ${why}`), action].join('\n'));
    this.tried = tried;
  }
}

/** Thrown by a way that does not apply here. */
export class NotHere extends Error {}

export interface Way<T> {
  readonly name: string;
  /** A way somebody asked for by name: when it fails, nothing else is tried. */
  readonly decisive?: boolean;
  open(): Promise<T>;
}

/** The first way that works. @throws UnavailableError when none does. */
export async function firstThatWorks<T>(what: string, ways: readonly Way<T>[], action: string): Promise<T> {
  const tried: Attempt[] = [];
  for (const way of ways) {
    try {
      return await way.open();
    } catch (error) {
      tried.push({ way: way.name, why: error instanceof Error ? error.message : String(error) });
      if (way.decisive && !(error instanceof NotHere)) break;
    }
  }
  throw new UnavailableError(what, tried, action);
}

/** Whether a missing database may be skipped. Only said explicitly: by default a missing database fails the run. */
export function maySkip(): boolean {
  return process.env['CHANGETRAIL_SKIP_MISSING_DATABASES'] === '1';
}

const skipped = new Set<string>();

/** Whether a missing receiver of a sink may be skipped; as `maySkip` for databases. */
export function maySkipReceivers(): boolean {
  return process.env['CHANGETRAIL_SKIP_MISSING_RECEIVERS'] === '1';
}

/** Counts a skipped server, also for the line at the end of a test run with several processes. */
export function noteSkipped(what: string): void {
  if (skipped.has(what)) return;
  skipped.add(what);
  const list = process.env['CHANGETRAIL_TEST_SKIPPED'];
  if (list) appendFileSync(list, `${what}\n`);
}

/** The servers that were skipped so far, in this process and, in a test run, in all its processes. */
export function skippedProviders(): readonly string[] {
  const list = process.env['CHANGETRAIL_TEST_SKIPPED'];
  if (!list) return [...skipped];
  return [...new Set(readFileSync(list, 'utf8').split('\n').filter(Boolean))];
}
