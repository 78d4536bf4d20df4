import type { RecordFront } from '../parse.ts';
import { objectName } from './facts.ts';

/**
 * A text that is the same for all records of one row or document, and for no other: where a receiver keeps order per key,
 * a row's history stays in order. Records without a key (truncate, gap, head) share the key of their table or source.
 */
export function orderKey(record: RecordFront): string {
  const name = objectName(record);
  const { key } = record.object;
  const parts = [record.source.name];
  if (name !== undefined) parts.push(name);
  if (key !== undefined) parts.push(JSON.stringify(key));
  return parts.join('/');
}
