import os from 'node:os';
import type { RecordBatch } from '../../core/sink.ts';
import { objectName } from '../../record/mappings/facts.ts';
import { mapperFor } from '../../record/mappings/index.ts';
import { parseFront, parseRecord, type RecordFront } from '../../record/parse.ts';
import type { AuditRecord } from '../../record/schema.ts';
import { FACILITIES, type SyslogOptions } from './options.ts';

/** RFC 5424, table 2. */
const ERROR = 3;
const WARNING = 4;
const INFORMATIONAL = 6;

/** Makes a function that turns a batch into RFC 5424 messages, one a record, in order. @see https://www.rfc-editor.org/rfc/rfc5424 */
export function syslogEncoder(options: SyslogOptions): (batch: RecordBatch) => Buffer[] {
  const mapper = mapperFor(options.format);
  const facility = FACILITIES.indexOf(options.facility) * 8;
  const from = `${options.hostname ?? printable(os.hostname(), 255)} ${options.app_name} ${process.pid}`;
  return (batch) => {
    const messages: Buffer[] = [];
    let start = 0;
    for (const end of batch.ends) {
      const line = batch.bytes.subarray(start, end - 1);
      const record = mapper === null ? parseFront(line) : parseRecord(line);
      const head = `<${facility + severity(record)}>1 ${record.time} ${from} ${record.kind} `;
      const data = structuredData(record, options.enterprise_id);
      const text = mapper === null ? line : Buffer.from(JSON.stringify(mapper(record as AuditRecord)));
      messages.push(Buffer.concat([Buffer.from(`${head}${data} `), text]));
      start = end;
    }
    return messages;
  };
}

function severity({ kind, outcome }: RecordFront): number {
  if (kind === 'gap') return ERROR;
  return kind === 'alert' || outcome === 'denied' || outcome === 'failure' ? WARNING : INFORMATIONAL;
}

/** What one searches and deduplicates by, where a receiver does not look into the message. */
function structuredData(record: RecordFront, enterprise: string): string {
  const { actor } = record;
  const parameters = {
    id: record.id,
    index: String(record.index),
    source: record.source.name,
    action: record.action,
    object: objectName(record),
    actor: actor?.id,
    assurance: actor?.assurance,
    outcome: record.outcome,
  };
  const texts = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}="${value.replace(/["\\\]]/g, '\\$&')}"`],
  );
  return `[changetrail@${enterprise} ${texts.join(' ')}]`;
}

/** A header field: printable ASCII without spaces, or `-` for nothing. */
function printable(text: string, length: number): string {
  return text.replace(/[^\x21-\x7e]/g, '').slice(0, length) || '-';
}

/** Octet counting: the length, a space, the message. @see https://www.rfc-editor.org/rfc/rfc6587#section-3.4.1 */
export function octetCounted(messages: readonly Buffer[]): Buffer {
  return Buffer.concat(messages.flatMap((message) => [Buffer.from(`${message.length} `), message]));
}
