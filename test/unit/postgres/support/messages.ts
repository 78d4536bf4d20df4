// Messages of the replication protocol as a server would send them, and an output that keeps what is written.
import { PgoutputDecoder } from '../../../../connectors/postgres/decode/pgoutput.ts';
import {
  compileRelation,
  type RelationDetails,
  type RelationMessage,
} from '../../../../connectors/postgres/decode/relation.ts';
import { POSTGRES_EPOCH_MICROS } from '../../../../connectors/postgres/lsn.ts';
import { TypeCatalog } from '../../../../connectors/postgres/types.ts';
import { ActorMetrics } from '../../../../src/actor/metrics.ts';
import { createActorStage } from '../../../../src/actor/stage.ts';
import type { SourceOutput } from '../../../../src/core/output.ts';
import { ByteWriter } from '../../../../src/record/byte-writer.ts';
import { type AuditRecord, recordSchema } from '../../../../src/record/schema.ts';

/** `undefined` stands for an unchanged value kept out of line. */
export function tuple(cells: readonly (string | Buffer | null | undefined)[]): Buffer {
  const parts: Buffer[] = [u16(cells.length)];
  for (const cell of cells) {
    if (cell === null) parts.push(Buffer.from('n'));
    else if (cell === undefined) parts.push(Buffer.from('u'));
    else {
      const bytes = Buffer.from(cell as string);
      parts.push(Buffer.from('t'), u32(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

export function begin(lsn: bigint, options: { xid?: number; micros?: bigint } = {}): Buffer {
  const b = Buffer.alloc(21);
  b[0] = 0x42;
  b.writeBigUInt64BE(lsn, 1);
  b.writeBigInt64BE((options.micros ?? 1_700_000_000_123_456n) - POSTGRES_EPOCH_MICROS, 9);
  b.writeUInt32BE(options.xid ?? 700, 17);
  return b;
}

export function commit(lsn: bigint, end = lsn + 48n): Buffer {
  const b = Buffer.alloc(26);
  b[0] = 0x43;
  b.writeBigUInt64BE(lsn, 2);
  b.writeBigUInt64BE(end, 10);
  return b;
}

const IDENTITY = { default: 'd', nothing: 'n', full: 'f', index: 'i' } as const;

export function relation(message: RelationMessage): Buffer {
  const columns = message.columns.map((column) =>
    Buffer.concat([
      Buffer.from([column.identity ? 1 : 0]),
      text(column.name),
      u32(column.typeOid),
      i32(column.typeModifier),
    ]),
  );
  return Buffer.concat([
    Buffer.from('R'),
    u32(message.oid),
    text(message.schema),
    text(message.table),
    Buffer.from(IDENTITY[message.identity]),
    u16(columns.length),
    ...columns,
  ]);
}

export const insert = (oid: number, row: Buffer) => Buffer.concat([Buffer.from('I'), u32(oid), Buffer.from('N'), row]);
export const update = (oid: number, row: Buffer, old?: { kind: 'K' | 'O'; row: Buffer }) =>
  Buffer.concat([
    Buffer.from('U'),
    u32(oid),
    ...(old === undefined ? [] : [Buffer.from(old.kind), old.row]),
    Buffer.from('N'),
    row,
  ]);
export const remove = (oid: number, kind: 'K' | 'O', row: Buffer) =>
  Buffer.concat([Buffer.from('D'), u32(oid), Buffer.from(kind), row]);

export function u16(value: number): Buffer {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(value);
  return b;
}

export function u32(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(value);
  return b;
}

function i32(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeInt32BE(value);
  return b;
}

export const text = (value: string) => Buffer.from(`${value}\0`);

/** An output in memory. Its buffer is small, so that records are larger than it. */
export class KeptOutput implements SourceOutput {
  readonly lines: Buffer[] = [];
  readonly reachedPositions: string[] = [];
  readonly full = false;
  #parts: Buffer[] = [];
  readonly #writer: ByteWriter;

  constructor(size = 1 << 10) {
    this.#writer = new ByteWriter(size, (writer, bytes) => {
      this.#parts.push(Buffer.from(writer.buf.subarray(0, writer.pos)));
      writer.pos = 0;
      if (bytes > writer.buf.length) writer.buf = Buffer.alloc(bytes);
    });
  }

  begin(): ByteWriter {
    this.#writer.bytes(Buffer.from(`{"v":1,"index":${this.lines.length}`));
    return this.#writer;
  }

  end(): void {
    const rest = this.#writer.buf.subarray(0, this.#writer.pos);
    this.lines.push(Buffer.concat([...this.#parts, rest]));
    this.abort();
  }

  abort(): void {
    this.#parts = [];
    this.#writer.pos = 0;
  }

  reached(position: string): void {
    this.reachedPositions.push(position);
  }

  idle(): void {}

  async drained(): Promise<void> {}

  async settled(): Promise<void> {}

  control(): void {}

  get records(): AuditRecord[] {
    return this.lines.map((line) =>
      recordSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line))),
    );
  }
}

export const TABLE: RelationMessage = {
  oid: 3_000_000_001,
  schema: 'public',
  table: 't',
  identity: 'default',
  columns: [
    { name: 'id', typeOid: 23, typeModifier: -1, identity: true },
    { name: 'v', typeOid: 25, typeModifier: -1, identity: false },
  ],
};

/** A decoder on a kept output; relations are compiled as soon as they are described. */
export function decoderWith(
  options: { held?: { lsn: bigint; seq: number }; checkUtf8?: boolean; details?: Partial<RelationDetails> } = {},
) {
  const output = new KeptOutput();
  const actors = createActorStage({ source: 'shop', metrics: new ActorMetrics() });
  const decoder = new PgoutputDecoder({
    output,
    actors,
    idPrefix: 'shop',
    source: { name: 'shop', engine: 'postgres', database: 'db' },
    held: options.held ?? { lsn: 0n, seq: -1 },
    checkUtf8: options.checkUtf8 ?? false,
    now: () => 1_700_000_000_500,
  });
  const types = new TypeCatalog();
  const described: RelationMessage[] = [];
  const send = (...messages: Buffer[]) => {
    for (const message of messages) {
      const asked = decoder.decode(message);
      if (asked === null) continue;
      described.push(asked);
      const details: RelationDetails = {
        forms: asked.columns.map((column) => types.form(column.typeOid)),
        typeNames: asked.columns.map(() => 'text'),
        numbers: asked.columns.map((_, i) => i + 1),
        primaryKey: asked.columns.filter((column) => column.identity).map((column) => column.name),
        partitioned: false,
        notCaptured: [],
        ...options.details,
      };
      decoder.setRelation(compileRelation(asked, details, null));
    }
  };
  return { output, decoder, described, send };
}
