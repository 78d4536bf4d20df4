// The position file of a source: how far beyond the ledger's last record nothing was pending, and what its connector keeps.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Position } from '../core/output.ts';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';
import { replaceFile } from '../ledger/file-ops.ts';

export interface SavedPosition {
  /** Everything before it is in the ledger below `index`, or there was nothing. */
  readonly position: Position;
  /** Index of the ledger when it was saved: records from here on are newer. */
  readonly index: number;
}

export interface PositionFiles {
  readonly position: string;
  readonly state: string;
}

export function positionFiles(directory: string, source: string): PositionFiles {
  const name = encodeURIComponent(source);
  return { position: join(directory, `${name}.json`), state: join(directory, `${name}.state.json`) };
}

/** Null when there is none. @throws AUD_LEDGER_CORRUPT when it is not what was written. */
export function readPosition(files: PositionFiles): SavedPosition | null {
  const value = readJson(files.position) as { position?: unknown; index?: unknown } | null;
  if (value === null) return null;
  if (typeof value.position !== 'string' || !Number.isSafeInteger(value.index))
    throw damaged(files.position, 'it lacks position or index');
  return { position: value.position, index: value.index as number };
}

export function readState(files: PositionFiles): Readonly<Record<string, unknown>> | null {
  return readJson(files.state) as Readonly<Record<string, unknown>> | null;
}

/** Durable on return. */
export function writePosition(files: PositionFiles, saved: SavedPosition): void {
  replaceFile(files.position, `${JSON.stringify({ ...saved, saved: new Date().toISOString() })}\n`);
}

/** Durable on return. */
export function writeState(files: PositionFiles, state: Readonly<Record<string, unknown>>): void {
  replaceFile(files.state, `${JSON.stringify(state)}\n`);
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw damaged(path, messageOf(cause), cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw damaged(path, 'it is not JSON', cause);
  }
}

function damaged(path: string, why: string, cause?: unknown): AuditError {
  return new AuditError('AUD_LEDGER_CORRUPT', {
    message: `The position file ${path} cannot be used: ${why}.`,
    action: 'Remove it: the position is then taken from the ledger itself, and what the source sends again is dropped.',
    retry: 'after_operator',
    ...(cause === undefined ? {} : { cause }),
  });
}
