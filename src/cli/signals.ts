import { InvalidArgumentError } from 'commander';
import { duration } from '../config/options.ts';
import type { Logger } from '../telemetry/log.ts';

export interface StopSignal {
  /** Aborts at the first signal: end in order. */
  readonly drain: AbortSignal;
  /** Aborts at the second: end at once. */
  readonly abort: AbortSignal;
  dispose(): void;
}

/** SIGINT and SIGTERM, and optionally a time, as abort signals. */
export function stopSignal(log: Logger, afterMs?: number): StopSignal {
  const drain = new AbortController();
  const abort = new AbortController();
  const onSignal = (name: string) => {
    if (drain.signal.aborted) {
      abort.abort();
      return;
    }
    log.info({ event: 'stopping', signal: name }, `${name}: finishes what was received; again to stop at once.`);
    drain.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const timer = afterMs === undefined ? undefined : setTimeout(() => drain.abort(), afterMs);
  return {
    drain: drain.signal,
    abort: abort.signal,
    dispose() {
      clearTimeout(timer);
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}

/** Checks an argument such as `20s`; gives the text back. */
export function durationArgument(text: string): string {
  if (!duration.safeParse(text).success) throw new InvalidArgumentError('Give a duration such as 20s or 5m.');
  return text;
}
