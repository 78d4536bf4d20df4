import type { Signer } from './signer.ts';

/** Options of every helper that carries the actor into PostgreSQL. */
export interface AttachOptions {
  /** Signs the messages; default: the signer given to `configureSigner`; `null`: not signed. */
  readonly signer?: Signer | null;
  /** Whether a statement that looks like a query writes, for instance `select` of a function that does. */
  readonly isWrite?: (sql: string) => boolean;
}
