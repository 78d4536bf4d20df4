import { createHash } from 'node:crypto';
import { type Member, membersOf } from '../../record/json-scan.ts';
import { LineEditor, objectOf } from './line-editor.ts';

/** Lines made of one record, each with its line feed. */
export interface Lines {
  readonly bytes: Buffer;
  readonly ends: Uint32Array;
}

/** Members that hold values of any size. */
const BULKY = ['before', 'after', 'context', 'details'] as const;

interface Candidate {
  readonly parent: string;
  /** null: the parent's value is no object and goes as a whole. */
  readonly member: Member | null;
  readonly bytes: number;
}

/**
 * The record with its largest values replaced by SHA-256 and size until the line, with its line feed, is at most `limit`
 * bytes. Null when that is not enough. A digest is over the value's JSON text as it stands in the ledger.
 */
export function digestValues(line: Buffer, limit: number): Buffer | null {
  const candidates = candidatesOf(new LineEditor(line));
  // What is taken out is decided by the sizes alone, so a few rounds settle it: what a mark costs is known afterwards.
  for (let take = 1; take <= candidates.length; take = Math.max(take + 1, take + (take >> 1))) {
    const enough = firstEnough(candidates, take, line.length - limit);
    const smaller = withoutCandidates(line, candidates.slice(0, enough));
    if (smaller.length <= limit) return smaller;
    take = enough;
  }
  return null;
}

function candidatesOf(editor: LineEditor): Candidate[] {
  const candidates: Candidate[] = [];
  const reduced = isReduced(editor);
  for (const parent of BULKY) {
    const member = editor.member(parent);
    if (member === undefined) continue;
    const inner = editor.inner(parent);
    if (inner.length === 0) candidates.push({ parent, member: null, bytes: member.end - member.valueStart });
    for (const each of inner) {
      if (reduced && isDigests(parent, each)) continue;
      candidates.push({ parent, member: each, bytes: each.end - each.valueStart });
    }
  }
  // A member of that name which is not ours goes first: two could not stand there.
  const inOurPlace = ({ parent, member }: Candidate) => Number(member !== null && isDigests(parent, member));
  return candidates.sort((a, b) => inOurPlace(b) - inOurPlace(a) || b.bytes - a.bytes);
}

/** How many of the largest are needed, at least `atLeast`, to save `excess` bytes. */
function firstEnough(candidates: readonly Candidate[], atLeast: number, excess: number): number {
  let saved = 0;
  let count = 0;
  while (count < candidates.length && (count < atLeast || saved < excess)) saved += candidates[count++]!.bytes;
  return count;
}

function withoutCandidates(line: Buffer, taken: readonly Candidate[]): Buffer {
  const editor = new LineEditor(line);
  const reduced = isReduced(editor);
  const digests = reduced ? earlierDigests(editor) : [];
  for (const parent of BULKY) {
    const here = taken.filter((candidate) => candidate.parent === parent);
    const gone = new Set(here.map(({ member }) => member?.start));
    const inner = editor.inner(parent);
    const kept = inner.filter((member) => !gone.has(member.start) && !(reduced && isDigests(parent, member)));
    if (here.length > 0 || kept.length < inner.length) {
      // `details` stays: the digests are written into it.
      if (kept.length > 0 || parent === 'details') editor.replace(parent, objectOf(line, kept));
      else editor.drop(parent);
    }
    for (const { member } of here) {
      const value = member ?? editor.member(parent)!;
      const path = member === null ? parent : `${parent}.${JSON.parse(`"${member.name}"`)}`;
      editor.missing(path, TOO_LARGE);
      digests.push(`${JSON.stringify(path)}:${digestOf(line.subarray(value.valueStart, value.end))}`);
    }
  }
  editor.detail(DIGESTS, `{${digests.join(',')}}`);
  return editor.finish();
}

const DIGESTS = 'digests';

function isDigests(parent: string, { name }: Member): boolean {
  return parent === 'details' && name === DIGESTS;
}

/** True for what an earlier reduction left: only then are `details.digests` ours and not the record's own. */
function isReduced(editor: LineEditor): boolean {
  return Object.values(editor.value('missing') ?? {}).includes(TOO_LARGE);
}

const TOO_LARGE = 'too_large';

/** What an earlier reduction left: a receiver may want a record smaller than it said, and the first digests must survive that. */
function earlierDigests(editor: LineEditor): string[] {
  const earlier = editor.inner('details').find((member) => isDigests('details', member));
  if (earlier === undefined) return [];
  return membersOf(editor.line, earlier.valueStart).map(({ start, end }) => editor.line.toString('utf8', start, end));
}

function digestOf(value: Buffer): string {
  return `{"sha256":"${createHash('sha256').update(value).digest('hex')}","bytes":${value.length}}`;
}

/** Members a part keeps, as far as they are short. */
const PART_HEAD = ['v', 'index', 'id', 'kind', 'time', 'captured', 'source', 'action', 'object', 'actor', 'outcome'];
/** Of these a part has a short form when they are long. */
const PART_NEEDS: Readonly<Record<string, string>> = { object: '{}' };
/** `"part":{…}` without the text, all numbers at their longest. */
const PART_BYTES = 260;
/** A part with less text than this is not worth sending. */
const LEAST_TEXT = 64;

/**
 * The record in numbered parts, each a record of at most `limit` bytes with the id `‹id›#part‹n›`. The texts of
 * `details.part.text` in order are the record's line, whose SHA-256 each part names. Null when `limit` is too small.
 */
export function splitRecord(line: Buffer, limit: number): Lines | null {
  const content = line[line.length - 1] === 0x0a ? line.subarray(0, line.length - 1) : line;
  const editor = new LineEditor(content);
  const id = String(editor.value('id'));
  const head = partHead(editor, limit >> 2);
  const idBytes = Buffer.byteLength(JSON.stringify(id));
  const room = limit - head.reduce((sum, { length }) => sum + length, 0) - 2 * idBytes - PART_BYTES;
  if (room < LEAST_TEXT) return null;
  const cuts = cutsOf(content, room);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const lines = cuts.map((end, n) => {
    const text = content.toString('utf8', n === 0 ? 0 : cuts[n - 1]!, end);
    const part = { number: n + 1, of: cuts.length, id, sha256, bytes: content.length, text };
    const members = head.map((text) => (text === ID ? `"id":${JSON.stringify(`${id}#part${n + 1}`)}` : text));
    return `{${members.join(',')},"missing":{"record":"${IN_PARTS}"},"details":${JSON.stringify({ part })}}\n`;
  });
  return linesOf(lines);
}

/** True for the line of a part: its text must stay whole, or the record could not be put together again. */
export function isPart(line: Buffer): boolean {
  const missing = new LineEditor(line).value('missing') as { readonly record?: unknown } | undefined;
  return missing?.record === IN_PARTS;
}

const IN_PARTS = 'in_parts';

/** Stands for the id of a part in its head. */
const ID = 'id';

/** The members that every part says of the record, in their order; `ID` where the part's id comes. */
function partHead(editor: LineEditor, most: number): string[] {
  const head: string[] = [];
  for (const { name, start, valueStart, end } of editor.members) {
    if (!PART_HEAD.includes(name)) continue;
    if (name === 'id') head.push(ID);
    else if (end - start <= most) head.push(editor.line.toString('utf8', start, end));
    else if (PART_NEEDS[name] !== undefined)
      head.push(editor.line.toString('utf8', start, valueStart) + PART_NEEDS[name]);
  }
  return head;
}

/** Ends of the pieces of a text whose JSON string form is at most `room` bytes; never inside a character. */
function cutsOf(bytes: Buffer, room: number): number[] {
  const cuts: number[] = [];
  let cost = 0;
  let character = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if ((byte & 0xc0) !== 0x80) character = at;
    cost += byte === 0x22 || byte === 0x5c ? 2 : byte < 0x20 ? 6 : 1;
    if (cost <= room) continue;
    cuts.push(character);
    at = character;
    cost = bytes[at] === 0x22 || bytes[at] === 0x5c ? 2 : 1;
  }
  cuts.push(bytes.length);
  return cuts;
}

function linesOf(texts: readonly string[]): Lines {
  const ends = new Uint32Array(texts.length);
  let size = 0;
  texts.forEach((line, i) => {
    ends[i] = size += Buffer.byteLength(line);
  });
  const bytes = Buffer.allocUnsafe(size);
  texts.forEach((line, i) => {
    bytes.write(line, i === 0 ? 0 : ends[i - 1]!);
  });
  return { bytes, ends };
}
