import { endOfMember } from './json-scan.ts';
import type { AuditRecord } from './schema.ts';

/**
 * Numbers that a double may not hold exactly, `-0` among them: only lines that have one are parsed the slow way. They stand
 * behind a colon, a comma or a bracket: digits inside texts (trace ids) seldom do.
 */
const INEXACT = /[[:,]\s*(?:-0|-?\d(?:[\d.]{15}|[\d.]*[eE][+-]?\d{3}))/;

/** The part of `JSON` that the library types of this TypeScript do not have yet. @see https://tc39.es/proposal-json-parse-with-source/ */
interface JsonWithSource {
  parse(text: string, revive: (key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
}
const json = JSON as unknown as JsonWithSource;

/**
 * A line of the ledger as a record. Numbers that a double cannot hold (`12345678901234567890` in a `jsonb` column) become
 * raw JSON, which `JSON.stringify` writes as they stood; all others are numbers. Of two equal keys in an object (`json`
 * columns may have them) the last one is seen.
 * @throws SyntaxError when the line is not JSON
 */
export function parseRecord(line: Buffer | string): AuditRecord {
  const text = typeof line === 'string' ? line : line.toString('utf8');
  if (!INEXACT.test(text)) return JSON.parse(text) as AuditRecord;
  return json.parse(text, exactNumber) as AuditRecord;
}

/** What a record says before its values: who did what to what, and when. */
export type RecordFront = Omit<AuditRecord, 'changed' | 'before' | 'after' | 'missing' | 'redacted' | 'details'>;

/** As `parseRecord`, for who needs no values: the line is read up to its `outcome`. @throws SyntaxError */
export function parseFront(line: Buffer): RecordFront {
  const end = endOfMember(line, 'outcome');
  return end === -1 ? parseRecord(line) : parseRecord(`${line.toString('utf8', 0, end)}}`);
}

function exactNumber(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined) return value;
  return String(value) === context.source || isExact(value, context.source) ? value : json.rawJSON(context.source);
}

/** Below it doubles have fewer than 15 digits. */
const SMALLEST_NORMAL = 1e-290;

/** Up to 15 digits survive a double and back; `1.50` and `1.5` are the same number. */
function isExact(value: number, source: string): boolean {
  const digits = source
    .replace(/[eE].*$/, '')
    .replace(/\D/g, '')
    .replace(/^0+/, '');
  if (digits === '') return !Object.is(value, -0);
  return digits.length <= 15 && Number.isFinite(value) && Math.abs(value) >= SMALLEST_NORMAL;
}

/** True for a number that `parseRecord` kept as its text. */
export function isRawNumber(value: unknown): value is { readonly rawJSON: string } {
  return json.isRawJSON(value);
}
