import type { RecordBatch } from '../../core/sink.ts';
import { readHead } from '../../record/head.ts';
import { objectName } from '../../record/mappings/facts.ts';
import { mapperFor } from '../../record/mappings/index.ts';
import { parseFront, parseRecord } from '../../record/parse.ts';
import type { AuditRecord } from '../../record/schema.ts';
import type { NatsOptions } from './options.ts';

export interface NatsMessage {
  readonly subject: string;
  readonly id: string;
  readonly index: number;
  readonly kind: string;
  readonly payload: Uint8Array;
}

/** Makes a function that turns a batch into messages, one a record, in order. */
export function natsEncoder({ format, subject }: NatsOptions): (batch: RecordBatch) => NatsMessage[] {
  const mapper = mapperFor(format);
  const needsFront = /\{(object|action)\}/.test(subject);
  return (batch) => {
    const messages: NatsMessage[] = [];
    let start = 0;
    for (const end of batch.ends) {
      const { id, index, kind, source } = readHead(batch.bytes, start, end);
      const line = batch.bytes.subarray(start, end - 1);
      const record = mapper !== null ? parseRecord(line) : needsFront ? parseFront(line) : null;
      const parts = { source, kind, action: record?.action, object: record === null ? undefined : objectName(record) };
      messages.push({
        subject: subject.replace(/\{(source|kind|action|object)\}/g, (_all, name: keyof typeof parts) =>
          subjectTokens(parts[name], name === 'object'),
        ),
        id,
        index,
        kind,
        payload: mapper === null ? line : Buffer.from(JSON.stringify(mapper(record as AuditRecord))),
      });
      start = end;
    }
    return messages;
  };
}

/** A text as a subject token (for an object: tokens), without the characters that mean something there. */
function subjectTokens(text: string | undefined, dotted: boolean): string {
  if (text === undefined || text === '') return '-';
  const clean = text.replace(dotted ? /[\s*>\p{Cc}]/gu : /[\s.*>\p{Cc}]/gu, '_');
  return dotted
    ? clean
        .split('.')
        .map((token) => token || '_')
        .join('.')
    : clean;
}
