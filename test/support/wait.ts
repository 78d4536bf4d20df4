import { setTimeout as sleep } from 'node:timers/promises';

export interface Until {
  /** What is waited for, in words: the failure says it. */
  readonly what: string;
  /** Default 30 s. Generous on purpose: a slow machine must never decide a test. */
  readonly timeoutMs?: number;
}

type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>;

/**
 * Waits until `condition` gives something truthy and returns it. It is asked at once, then after pauses that grow from 5 to 100 ms.
 * A condition that throws counts as not yet met.
 * @throws Error after `timeoutMs`, with the last value or error the condition gave.
 */
export async function until<T>(condition: () => T | Promise<T>, options: Until): Promise<Truthy<T>> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const deadline = Date.now() + timeoutMs;
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 1.5, 100)) {
    let seen: string;
    let cause: unknown;
    try {
      const value = await condition();
      if (value) return value as Truthy<T>;
      seen = `last seen: ${shown(value)}`;
    } catch (error) {
      cause = error;
      seen = `last error: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (Date.now() >= deadline) {
      throw new Error(`waited ${timeoutMs} ms for ${options.what}; ${seen}`, cause === undefined ? {} : { cause });
    }
    await sleep(pauseMs);
  }
}

function shown(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? String(inner) : inner)).slice(0, 500);
}
