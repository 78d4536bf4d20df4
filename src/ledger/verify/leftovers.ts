// Files that the published head does not need: older partial tiles must agree with it, anything else is only named.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { systemCode } from '../../errors/audit-error.ts';
import { HASH_BYTES, TILE_WIDTH } from '../merkle.ts';
import { ENTRY_BYTES } from '../tile-hash.ts';
import { type TileKind, tileWidth } from '../tiles.ts';
import type { Findings } from './findings.ts';
import { lookAtTile } from './look-at-tile.ts';

export interface Leftovers {
  /** Tiles of entries that the head does not cover yet: not looked at. */
  ahead: number;
  /** Files that are no part of a ledger: not looked at. */
  readonly strange: string[];
}

const KEPT_NAMES = 100;
const KNOWN = /^(checkpoint|tile|segments)$/;
const SEGMENT = /^\d{16}\.ndjson(\.zst)?$/;

export function checkLeftovers(ledger: string, size: number, findings: Findings): Leftovers {
  const found: Leftovers = { ahead: 0, strange: [] };
  const strange = (path: string) => {
    if (found.strange.length < KEPT_NAMES) found.strange.push(path);
  };
  for (const name of names(ledger)) if (!KNOWN.test(name)) strange(name);
  const segments = names(join(ledger, 'segments'));
  for (const name of segments) {
    // The plain form of a segment is the one that is read.
    const shadowed = name.endsWith('.zst') && segments.includes(name.slice(0, -4));
    if (!SEGMENT.test(name) || shadowed) strange(join('segments', name));
  }
  for (const path of files(join(ledger, 'tile'))) {
    const name = relative(join(ledger, 'tile'), path).split(sep).join('/');
    const tile = parseTileName(name);
    if (tile === null) strange(join('tile', name));
    else if (tile.width > tileWidth(tile.kind, tile.n, size)) found.ahead++;
    else if (tile.width < tileWidth(tile.kind, tile.n, size)) checkOlder(ledger, size, path, name, tile, findings);
  }
  return found;
}

interface TileName {
  readonly kind: TileKind;
  readonly n: number;
  readonly width: number;
}

function parseTileName(name: string): TileName | null {
  const match = /^(entries|\d{1,2})\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d{1,3}))?$/.exec(name);
  if (match === null) return null;
  const width = match[3] === undefined ? TILE_WIDTH : Number(match[3]);
  if (width === 0 || width > TILE_WIDTH) return null;
  const n = match[2]!.split('/').reduce((sum, part) => sum * 1000 + Number(part.replace('x', '')), 0);
  return { kind: match[1] === 'entries' ? 'entries' : Number(match[1]), n, width };
}

/** A partial tile of an earlier head holds the first hashes of the tile of now. */
function checkOlder(
  ledger: string,
  size: number,
  path: string,
  name: string,
  tile: TileName,
  findings: Findings,
): void {
  const now = lookAtTile(ledger, tile.kind, tile.n, size, findings);
  const older = readOlder(path, name, findings);
  if (older === null || now === null || now === 'unreadable') return;
  const length = tile.width * (tile.kind === 'entries' ? ENTRY_BYTES : HASH_BYTES);
  if (older.equals(now.subarray(0, length))) return;
  findings.add({
    level: 'tampered',
    what: 'tile_damaged',
    message: `tile/${name}, which an earlier head needs, does not agree with the tile that took its place`,
  });
}

function readOlder(path: string, name: string, findings: Findings): Buffer | null {
  try {
    return readFileSync(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    const message = `tile/${name} is there but cannot be read: ${systemCode(error)}`;
    findings.add({ level: 'missing', what: 'tile_unreadable', message });
    return null;
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // What is not there has no leftovers; what is needed of it is a finding elsewhere.
    return [];
  }
}

function* files(directory: string): Generator<string> {
  try {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) yield* files(path);
      else yield path;
    }
  } catch {
    // As above.
  }
}
