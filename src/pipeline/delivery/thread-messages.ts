// What a sink's thread and the thread of the ledger tell each other.
import type { ControlRecord } from '../../core/output.ts';
import type { Retry } from '../../errors/audit-error.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import type { SinkStatus } from './metrics.ts';
import type { SharedEndBuffer } from './shared-end.ts';

/** Given to the thread at its start. */
export interface ThreadData {
  /** The sink's name in the configuration. */
  readonly name: string;
  readonly type: string;
  /** The sink's options as the configuration check left them. */
  readonly options: unknown;
  /** URL of the module that exports `SINKS`. */
  readonly registry: string;
  readonly segments: string;
  readonly cursorPath: string;
  readonly deadLetterPath: string;
  readonly logLevel: string;
  readonly end: SharedEndBuffer;
}

export type ToThread = 'drain' | 'abort';

export interface ThreadError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly action: string | undefined;
  readonly retry: Retry;
  readonly data: Readonly<Record<string, unknown>>;
}

export type FromThread =
  | { readonly kind: 'status'; readonly status: SinkStatus }
  | { readonly kind: 'log'; readonly line: string }
  | { readonly kind: 'control'; readonly record: ControlRecord }
  /** The last message of a thread. */
  | { readonly kind: 'done'; readonly error: ThreadError | null };
