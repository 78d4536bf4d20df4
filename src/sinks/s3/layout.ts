import { createHash } from 'node:crypto';
import type { RecordBatch } from '../../core/sink.ts';
import { readHead } from '../../record/head.ts';

/** Records of one source and hour, on their way into one object. */
export interface ObjectPlan {
  readonly key: string;
  readonly source: string;
  /** `2026-11-24T10`, UTC, of the records' `time`. */
  readonly hour: string;
  /** Place in the ledger of the first and last record; others may lie between them. */
  readonly first: number;
  readonly last: number;
  readonly count: number;
  /** NDJSON. */
  readonly bytes: Buffer;
  /** SHA-256 of `bytes`, hexadecimal. */
  readonly sha256: string;
}

/** What a manifest says of an object. */
export interface ManifestEntry extends Omit<ObjectPlan, 'bytes'> {
  readonly bytes: number;
  readonly stored_bytes: number;
  readonly stored_sha256: string;
}

export interface ManifestPlan {
  readonly key: string;
  readonly body: Buffer;
}

/** Digits of an index in a key, so that keys sort as the ledger does. */
const INDEX_DIGITS = 16;
/** Enough of a digest that equal keys mean equal content. */
const DIGEST_DIGITS = 16;

interface Lines {
  readonly bytes: Buffer;
  readonly ends: Uint32Array;
}

/** Sorts a batch into objects by source and hour. `lines` are the records as they are to be stored, in the batch's order. */
export function planObjects(batch: RecordBatch, lines: Lines, prefix: string): ObjectPlan[] {
  const groups = new Map<string, { source: string; hour: string; indexes: number[]; parts: Buffer[] }>();
  for (let i = 0; i < batch.count; i++) {
    const { index, source, time } = readHead(batch.bytes, i === 0 ? 0 : batch.ends[i - 1]!, batch.ends[i]!);
    const hour = time.slice(0, 13);
    const id = `${hour}/${source}`;
    let group = groups.get(id);
    if (group === undefined) {
      group = newGroup(source, hour);
      groups.set(id, group);
    }
    group.indexes.push(index);
    group.parts.push(lines.bytes.subarray(i === 0 ? 0 : lines.ends[i - 1]!, lines.ends[i]!));
  }
  return [...groups.values()].map(({ source, hour, indexes, parts }) => {
    const bytes = Buffer.concat(parts);
    const sha256 = digest(bytes);
    const range = { first: Math.min(...ends(indexes)), last: Math.max(...ends(indexes)) };
    const [date, clock] = hour.split('T') as [string, string];
    const key = `${prefix}${pathSegment(source)}/dt=${date}/hour=${clock}/${name(range, sha256)}.ndjson.gz`;
    return { key, source, hour, ...range, count: parts.length, bytes, sha256 };
  });
}

function newGroup(source: string, hour: string) {
  return { source, hour, indexes: [] as number[], parts: [] as Buffer[] };
}

/** Indexes of a batch ascend. */
function ends(indexes: readonly number[]): [number, number] {
  return [indexes[0]!, indexes.at(-1)!];
}

/**
 * The manifest of a round: the same records give the same bytes and key. It is written last: an object that no manifest
 * names is left from a round that was cut off, and its records are in another one.
 */
export function planManifest(entries: readonly ManifestEntry[], sink: string, prefix: string): ManifestPlan {
  const range = {
    first: Math.min(...entries.map(({ first }) => first)),
    last: Math.max(...entries.map(({ last }) => last)),
  };
  const count = entries.reduce((sum, entry) => sum + entry.count, 0);
  const body = Buffer.from(`${JSON.stringify({ v: 1, sink, ...range, count, objects: entries }, null, 1)}\n`);
  const date = entries
    .map(({ hour }) => hour)
    .sort()[0]!
    .slice(0, 10);
  return { key: `${prefix}manifests/dt=${date}/${name(range, digest(body))}.json`, body };
}

function name({ first, last }: { first: number; last: number }, sha256: string): string {
  const digits = (index: number) => String(index).padStart(INDEX_DIGITS, '0');
  return `${digits(first)}-${digits(last)}-${sha256.slice(0, DIGEST_DIGITS)}`;
}

/** A source's name as one readable part of a key. */
function pathSegment(source: string): string {
  const clean = encodeURIComponent(source);
  return /^\.{1,2}$/.test(clean) || clean === 'manifests' ? `source=${clean}` : clean;
}

/** SHA-256, hexadecimal. */
export function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
