import type { MessageToProduce } from '@platformatic/kafka';
import type { RecordBatch } from '../../core/sink.ts';
import { epochMillis } from '../../record/mappings/facts.ts';
import { type Format, mapperFor } from '../../record/mappings/index.ts';
import { orderKey } from '../../record/mappings/key.ts';
import { parseFront, parseRecord } from '../../record/parse.ts';
import type { AuditRecord } from '../../record/schema.ts';

export type KafkaMessage = MessageToProduce<Buffer, Buffer, Buffer, Buffer>;

const HEADER_NAMES = { id: Buffer.from('id'), kind: Buffer.from('kind'), index: Buffer.from('index') };

/** A message a record, in order; with the record's time as the message's. */
export function kafkaMessages(batch: RecordBatch, topic: string, format: Format): KafkaMessage[] {
  const mapper = mapperFor(format);
  const messages: KafkaMessage[] = [];
  let start = 0;
  for (const end of batch.ends) {
    const line = batch.bytes.subarray(start, end - 1);
    const record = mapper === null ? parseFront(line) : parseRecord(line);
    messages.push({
      topic,
      key: Buffer.from(orderKey(record)),
      value: mapper === null ? line : Buffer.from(JSON.stringify(mapper(record as AuditRecord))),
      headers: new Map([
        [HEADER_NAMES.id, Buffer.from(record.id)],
        [HEADER_NAMES.kind, Buffer.from(record.kind)],
        [HEADER_NAMES.index, Buffer.from(String(record.index))],
      ]),
      timestamp: BigInt(epochMillis(record.time)),
    });
    start = end;
  }
  return messages;
}
