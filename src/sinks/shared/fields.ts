// The few fields of a record that an envelope around it needs, taken from the line without parsing it.
import type { RecordBatch } from '../../core/sink.ts';
import { membersOf, parseAt } from '../../record/json-scan.ts';
import { epochMicros } from '../../record/mappings/facts.ts';

const HEAD_BYTES = 8192;

/** The line of record `at` without its line feed; a view. */
export function textAt(batch: Pick<RecordBatch, 'bytes' | 'ends'>, at: number): Buffer {
  return batch.bytes.subarray(at === 0 ? 0 : batch.ends[at - 1]!, batch.ends[at]! - 1);
}

/**
 * The value of a top-level text field that stands in front of any value a user can choose (`id`, `kind`, `time`,
 * `captured`, `action`, and `name` of the source), still with its escapes; `otherwise` when it is not there. Quotes inside texts
 * are escaped, so that the name with its quotes can only be found where it is a name.
 */
export function rawField(line: Buffer, name: string, otherwise = ''): string {
  const head = line.subarray(0, HEAD_BYTES);
  const needle = `"${name}":"`;
  const at = head.indexOf(needle, 0, 'latin1');
  if (at === -1) return otherwise;
  const start = at + needle.length;
  let end = start;
  while (end < line.length && line[end] !== 0x22) end += line[end] === 0x5c ? 2 : 1;
  return line.toString('utf8', start, end);
}

/** As `rawField`, with the escapes resolved. */
export function textField(line: Buffer, name: string, otherwise = ''): string {
  const raw = rawField(line, name, otherwise);
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/** A top-level member of the record wherever it stands, parsed; undefined when it is not there. */
export function topLevel(line: Buffer, name: string): unknown {
  const member = membersOf(line).find((each) => each.name === name);
  return member === undefined ? undefined : parseAt(line, member.valueStart, member.end);
}

/** `1764000000.123456`: seconds since 1970 as HTTP collectors take them, exact. */
export function epochSeconds(time: string): string {
  const micros = String(epochMicros(time)).padStart(7, '0');
  return `${micros.slice(0, -6)}.${micros.slice(-6)}`;
}
