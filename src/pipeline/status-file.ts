import { readFileSync } from 'node:fs';
import { replaceFile } from '../ledger/file-ops.ts';

const EVERY_MS = 2_000;

/** What the running process says of itself, for `changetrail status` in another one. Not part of the trail. */
export class StatusFile {
  readonly #path: string;
  readonly #snapshot: () => object;
  #timer: NodeJS.Timeout | null = null;

  constructor(path: string, snapshot: () => object) {
    this.#path = path;
    this.#snapshot = snapshot;
  }

  start(): void {
    this.#write();
    this.#timer = setInterval(() => this.#write(), EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#write();
  }

  #write(): void {
    try {
      replaceFile(this.#path, `${JSON.stringify({ ...this.#snapshot(), at: new Date().toISOString() })}\n`);
    } catch {
      // The trail does not depend on this file; a full disk is reported by the ledger itself.
    }
  }
}

/** A status or cursor file as the last run wrote it, to be shown; null when it is missing or damaged: nothing depends on it. */
export function readStatus<T>(path: string): T | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return null;
  }
}
