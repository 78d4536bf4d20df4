import { isObjectAt, type Member, membersOf, parseAt } from '../../record/json-scan.ts';

/** Changes members of one record's line without parsing what stays as it is: values keep their bytes. */
export class LineEditor {
  readonly line: Buffer;
  readonly members: readonly Member[];
  /** New text of a top-level member; null: it goes. */
  readonly #replaced = new Map<string, Buffer | null>();
  readonly #missing: [string, string][] = [];
  readonly #details: [string, string][] = [];

  /** `line` with or without its line feed. */
  constructor(line: Buffer) {
    this.line = line;
    this.members = membersOf(line);
  }

  member(name: string): Member | undefined {
    return this.members.find((member) => member.name === name);
  }

  /** The value of a top-level member, parsed; undefined when it is not there. */
  value(name: string): unknown {
    const member = this.member(name);
    return member === undefined ? undefined : parseAt(this.line, member.valueStart, member.end);
  }

  /** The members of a top-level member's object. */
  inner(name: string): Member[] {
    const member = this.member(name);
    return member === undefined || !isObjectAt(this.line, member.valueStart)
      ? []
      : membersOf(this.line, member.valueStart);
  }

  drop(name: string): void {
    this.#replaced.set(name, null);
  }

  replace(name: string, value: Buffer): void {
    this.#replaced.set(name, value);
  }

  /** Says in `missing` that `path` is not in the record, and why. */
  missing(path: string, why: string): void {
    this.#missing.push([path, why]);
  }

  /** Adds a member to `details`; `json` is its text. */
  detail(name: string, json: string): void {
    this.#details.push([name, json]);
  }

  /** The changed line, with its line feed. */
  finish(): Buffer {
    const missing = this.#missing.map(([path, why]): [string, string] => [path, JSON.stringify(why)]);
    this.#extend('missing', missing);
    this.#extend('details', this.#details);
    const parts: Buffer[] = [];
    for (const { name, start, valueStart, end } of this.members) {
      const value = this.#replaced.get(name);
      this.#replaced.delete(name);
      if (value === null) continue;
      parts.push(parts.length === 0 ? OPEN : COMMA);
      if (value === undefined) parts.push(this.line.subarray(start, end));
      else parts.push(this.line.subarray(start, valueStart), value);
    }
    for (const [name, value] of this.#replaced) {
      if (value !== null) parts.push(COMMA, Buffer.from(`"${name}":`), value);
    }
    parts.push(CLOSE_LINE);
    return Buffer.concat(parts);
  }

  #extend(name: string, additions: readonly (readonly [string, string])[]): void {
    if (additions.length === 0 || this.#replaced.get(name) === null) return;
    const member = this.member(name);
    const old = member === undefined ? Buffer.from('{}') : this.line.subarray(member.valueStart, member.end);
    const base = this.#replaced.get(name) ?? old;
    const empty = membersOf(base).length === 0;
    const added = additions.map(([key, json]) => `${JSON.stringify(key)}:${json}`).join(',');
    this.#replaced.set(
      name,
      Buffer.concat([base.subarray(0, base.length - 1), Buffer.from(`${empty ? '' : ','}${added}}`)]),
    );
  }
}

const OPEN = Buffer.from('{');
const COMMA = Buffer.from(',');
const CLOSE_LINE = Buffer.from('}\n');

/** An object of some of its members, each as it stands. */
export function objectOf(bytes: Buffer, members: readonly Member[]): Buffer {
  const parts: Buffer[] = [OPEN];
  for (const { start, end } of members) {
    if (parts.length > 1) parts.push(COMMA);
    parts.push(bytes.subarray(start, end));
  }
  parts.push(CLOSE_LINE.subarray(0, 1));
  return Buffer.concat(parts);
}
