import type { ErrorCode } from './codes.ts';

/** When doing the same again may help: never, after a wait, or after somebody changed something. */
export type Retry = 'never' | 'soon' | 'after_operator';

export interface AuditErrorOptions {
  /** What happened, in one sentence. Never a row value, key, token, password or SQL literal. */
  readonly message: string;
  /** What to do about it: a command or a setting where there is one. */
  readonly action?: string;
  readonly retry?: Retry;
  readonly cause?: unknown;
  /** Names, positions and counts for programs. Never row values or secrets. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The one error of the project: a stable code, what happened, what to do, and whether trying again may help. */
export class AuditError extends Error {
  override readonly name = 'AuditError';
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly action: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, options: AuditErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retry = options.retry ?? 'never';
    this.action = options.action;
    this.data = options.data ?? {};
  }
}

/** The system's error code (`ENOSPC`, `ECONNREFUSED`) or the server's (SQLSTATE, MongoDB code name) of anything thrown. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** The message of anything thrown, with passwords of URLs taken out. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message || systemCode(error) || error.name : String(error);
  return withoutUrlPassword(text);
}

/** Replaces the password of every `scheme://user:password@host` in a text. */
export function withoutUrlPassword(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@]*@/gi, '$1:[secret]@');
}
