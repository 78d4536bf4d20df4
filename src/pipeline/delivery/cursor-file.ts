import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { LedgerCursor } from '../../core/ledger.ts';
import { AuditError, messageOf, systemCode } from '../../errors/audit-error.ts';
import { replaceFile } from '../../ledger/file-ops.ts';
import type { SinkStatus } from './metrics.ts';

const contentSchema = z.looseObject({
  index: z.number().int().nonnegative(),
  segment: z.number().int().nonnegative().optional(),
  offset: z.number().int().nonnegative().optional(),
});

/** The cursor in a sink's cursor file, or null when there is none. @throws AUD_SINK_CURSOR when it cannot be read. */
export function readCursor(path: string): LedgerCursor | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw unreadable(path, messageOf(cause));
  }
  try {
    const { index, segment, offset } = contentSchema.parse(JSON.parse(text));
    return segment === undefined || offset === undefined ? { index } : { index, segment, offset };
  } catch {
    throw unreadable(path, 'it is not a cursor');
  }
}

/** The index in a cursor file, to be shown; 0 when there is none or it cannot be read, which its delivery tells by itself. */
export function shownCursor(path: string): number {
  try {
    return readCursor(path)?.index ?? 0;
  } catch {
    return 0;
  }
}

function unreadable(path: string, why: string): AuditError {
  return new AuditError('AUD_SINK_CURSOR', {
    message: `The cursor file ${path} cannot be used: ${why}.`,
    action: 'Restore the file, or remove it to send everything again (receivers drop what they have by its id).',
    retry: 'after_operator',
  });
}

const WRITE_MS = 1000;

/**
 * A sink's durable cursor, with its status beside it for people. Written at most once a second: what lies between the file
 * and the truth is sent again after a crash, and dropped by its id where the receiver can.
 */
export class CursorFile {
  readonly #path: string | null;
  readonly #status: () => SinkStatus;
  #cursor: LedgerCursor;
  #timer: NodeJS.Timeout | null = null;
  #onError: (error: AuditError) => void;

  /** Without a path nothing is written. */
  constructor(
    path: string | null,
    cursor: LedgerCursor,
    status: () => SinkStatus,
    onError: (error: AuditError) => void,
  ) {
    this.#path = path;
    this.#cursor = cursor;
    this.#status = status;
    this.#onError = onError;
  }

  get cursor(): LedgerCursor {
    return this.#cursor;
  }

  /** Moves the cursor; durable within a second, or at `flush`. */
  move(cursor: LedgerCursor): void {
    this.#cursor = cursor;
    this.touch();
  }

  /** Has the status written, at the same bounded rate. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      try {
        this.flush();
      } catch (error) {
        this.#onError(error as AuditError);
      }
    }, WRITE_MS);
  }

  /** Durable on return. @throws AUD_LEDGER_WRITE */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#path === null) return;
    const content = { ...this.#cursor, at: new Date().toISOString(), status: this.#status() };
    replaceFile(this.#path, `${JSON.stringify(content)}\n`);
  }
}
