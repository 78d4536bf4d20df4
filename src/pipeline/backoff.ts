const FIRST_MS = 200;

/** The wait before try `attempt` (1, 2, …): a random time up to a bound that doubles ("full jitter"), in milliseconds. */
export function backoffMs(attempt: number, maxMs: number, random: () => number = Math.random): number {
  const bound = Math.min(maxMs, FIRST_MS * 2 ** Math.min(attempt - 1, 30));
  return Math.ceil(random() * bound);
}
