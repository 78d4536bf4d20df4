import { parseRecord } from './parse.ts';
import type { AuditRecord } from './schema.ts';

/** What every line says first, without parsing the whole of it. */
export interface RecordHead {
  readonly index: number;
  readonly id: string;
  readonly kind: AuditRecord['kind'];
  readonly time: string;
  readonly captured: string;
  /** The source's name. */
  readonly source: string;
}

/** Enough for the fields up to `source.name` of all but absurd ids. */
const HEAD_BYTES = 1024;
const HEAD =
  /^\{"v":1,"index":(\d+),"id":"([^"\\]+)","kind":"([a-z]+)","time":"([^"]+)","captured":"([^"]+)","source":\{"name":"([^"\\]+)"/;

/** The head of the line `bytes[start, end)`. @throws SyntaxError when it is not a record */
export function readHead(bytes: Buffer, start: number, end: number): RecordHead {
  const match = HEAD.exec(bytes.toString('utf8', start, Math.min(end, start + HEAD_BYTES)));
  if (match === null) return parsedHead(bytes.toString('utf8', start, end));
  const [, index, id, kind, time, captured, source] = match as unknown as string[];
  return {
    index: Number(index),
    id: id!,
    kind: kind as RecordHead['kind'],
    time: time!,
    captured: captured!,
    source: source!,
  };
}

function parsedHead(text: string): RecordHead {
  const { index, id, kind, time, captured, source } = parseRecord(text);
  return { index, id, kind, time, captured, source: source.name };
}
