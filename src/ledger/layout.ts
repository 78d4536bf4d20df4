// Names of the files in a data directory, and nothing else.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditError } from '../errors/audit-error.ts';
import { makeDirectory, replaceFile } from './file-ops.ts';

/** Raised when a directory written by this version cannot be read by an older one. */
export const FORMAT_VERSION = 1;

export interface DataLayout {
  readonly data: string;
  readonly ledger: string;
  readonly segments: string;
  readonly positions: string;
  readonly cursors: string;
  readonly keys: string;
  readonly deadLetters: string;
  /** How much of the tree is known to be on the disk, and the last head: made again from the ledger when lost. */
  readonly treeState: string;
  /** What each anchor holds. */
  readonly anchors: string;
}

export function dataLayout(data: string): DataLayout {
  const ledger = join(data, 'ledger');
  return {
    data,
    ledger,
    segments: join(ledger, 'segments'),
    positions: join(data, 'positions'),
    cursors: join(data, 'cursors'),
    keys: join(data, 'keys'),
    deadLetters: join(data, 'dead-letters'),
    treeState: join(data, 'tree.json'),
    anchors: join(data, 'anchors'),
  };
}

/** Creates what is missing of a data directory, or checks that this version may write the one that is there. */
export function prepareDataDirectory(data: string): DataLayout {
  const layout = dataLayout(data);
  checkFormat(data);
  for (const path of [layout.segments, layout.positions, layout.cursors]) makeDirectory(path);
  const path = join(data, 'format.json');
  if (!existsSync(path)) replaceFile(path, `${JSON.stringify({ format: FORMAT_VERSION })}\n`);
  return layout;
}

/** @throws AUD_LEDGER_VERSION when a newer version wrote the directory. */
export function checkFormat(data: string): void {
  const path = join(data, 'format.json');
  if (!existsSync(path)) return;
  let format: unknown;
  try {
    format = (JSON.parse(readFileSync(path, 'utf8')) as { format?: unknown }).format;
  } catch {
    format = undefined;
  }
  if (typeof format === 'number' && format <= FORMAT_VERSION) return;
  throw new AuditError('AUD_LEDGER_VERSION', {
    message: `${data} has format ${String(format ?? 'unknown')}; this version of changetrail writes format ${FORMAT_VERSION}.`,
    action: 'Use a newer changetrail, or another data directory.',
  });
}

export interface Segment {
  /** Index of the first record. */
  readonly first: number;
  readonly path: string;
  readonly compressed: boolean;
}

const DIGITS = 16;

export function segmentPath(segments: string, first: number): string {
  return join(segments, `${String(first).padStart(DIGITS, '0')}.ndjson`);
}

/** The segments that exist, in order. A segment that stands both plain and compressed is taken plain. */
export function listSegments(segments: string): Segment[] {
  if (!existsSync(segments)) return [];
  const found = new Map<number, Segment>();
  for (const name of readdirSync(segments)) {
    const match = /^(\d{16})\.ndjson(\.zst)?$/.exec(name);
    if (match === null) continue;
    const first = Number(match[1]);
    const compressed = match[2] !== undefined;
    if (compressed && found.has(first)) continue;
    found.set(first, { first, path: join(segments, name), compressed });
  }
  return [...found.values()].sort((a, b) => a.first - b.first);
}
