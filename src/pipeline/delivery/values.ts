import { isObjectAt, type Member, membersOf } from '../../record/json-scan.ts';
import { LineEditor, objectOf } from './line-editor.ts';

/** Kinds whose `before` and `after` are rows and documents; in others they are definitions. */
const ROW_KINDS = new Set(['change', 'baseline']);
/** Where a source keeps the values of an update whose after-image is missing. */
const UPDATE_DETAIL = 'update';

/** The line without the values a sink is not to get; the line itself when it has none. */
export function limitValues(line: Buffer, values: 'changed' | 'none'): Buffer {
  const editor = new LineEditor(line);
  if (!ROW_KINDS.has(String(editor.value('kind')))) return line;
  return values === 'none' ? withoutValues(editor) : onlyChanged(editor);
}

function withoutValues(editor: LineEditor): Buffer {
  let touched = false;
  for (const name of ['before', 'after']) {
    if (editor.member(name) === undefined) continue;
    editor.drop(name);
    editor.missing(name, 'values_not_sent');
    touched = true;
  }
  const details = editor.inner('details');
  if (details.some(({ name }) => name === UPDATE_DETAIL)) {
    const rest = details.filter(({ name }) => name !== UPDATE_DETAIL);
    if (rest.length === 0) editor.drop('details');
    else editor.replace('details', objectOf(editor.line, rest));
    editor.missing(`details.${UPDATE_DETAIL}`, 'values_not_sent');
    touched = true;
  }
  return touched ? editor.finish() : editor.line;
}

function onlyChanged(editor: LineEditor): Buffer {
  const changed = editor.value('changed');
  if (!Array.isArray(changed)) return editor.line;
  const paths = changed.map(String);
  let touched = false;
  for (const name of ['before', 'after']) {
    const member = editor.member(name);
    if (member === undefined || !isObjectAt(editor.line, member.valueStart)) continue;
    const kept = pick(editor.line, member.valueStart, paths);
    if (kept === null) continue;
    editor.replace(name, kept);
    editor.missing(`${name}.*`, 'unchanged_not_sent');
    touched = true;
  }
  return touched ? editor.finish() : editor.line;
}

/** The object at `at` with the members that `paths` name, at any depth; null when these are all. */
function pick(bytes: Buffer, at: number, paths: readonly string[]): Buffer | null {
  const members = membersOf(bytes, at);
  const parts: Buffer[] = [];
  let whole = true;
  for (const member of members) {
    const kept = pickMember(bytes, member, paths);
    if (kept === null || kept.length !== member.end - member.start) whole = false;
    if (kept !== null) parts.push(kept);
  }
  if (whole) return null;
  const commas = parts.flatMap((part, i) => (i === 0 ? [part] : [COMMA, part]));
  return Buffer.concat([OPEN, ...commas, CLOSE]);
}

const OPEN = Buffer.from('{');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from('}');

/** A member as far as the paths name it: all of it, its inner members, or null. A name may itself hold dots. */
function pickMember(bytes: Buffer, member: Member, paths: readonly string[]): Buffer | null {
  const name = member.name.includes('\\') ? (JSON.parse(`"${member.name}"`) as string) : member.name;
  const all = bytes.subarray(member.start, member.end);
  if (paths.includes(name)) return all;
  const inner = paths.filter((path) => path.startsWith(`${name}.`)).map((path) => path.slice(name.length + 1));
  if (inner.length === 0) return null;
  if (!isObjectAt(bytes, member.valueStart)) return all;
  const kept = pick(bytes, member.valueStart, inner);
  return kept === null ? all : Buffer.concat([bytes.subarray(member.start, member.valueStart), kept]);
}
