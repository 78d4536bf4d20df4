import type { Logger } from '../../telemetry/log.ts';

/** What every sink is given; it makes no other use of the outside world. */
export interface SinkHost {
  /** The sink's name in the configuration. */
  readonly name: string;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  now(): number;
}
