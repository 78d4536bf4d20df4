// The pgoutput protocol, version 1: one message at a time, in the order of commits. Nothing aborted is ever seen here.
import type { ActorStage } from '../../../src/core/actor.ts';
import type { SourceOutput } from '../../../src/core/output.ts';
import { AuditError } from '../../../src/errors/audit-error.ts';
import {
  envelopeCompiler,
  isoMicros,
  isoMillis,
  type TransactionFields,
  type TransactionFragments,
} from '../../../src/record/envelope.ts';
import { factOf } from '../actor-dialects.ts';
import { formatLsn, POSTGRES_EPOCH_MICROS } from '../lsn.ts';
import { ChangeWriter, type OldRow } from './change-writer.ts';
import { cstringReader, parseRelation, type Relation, type RelationMessage } from './relation.ts';
import { Tuple } from './tuple.ts';

const BEGIN = 0x42; // B
const COMMIT = 0x43; // C
const DELETE = 0x44; // D
const INSERT = 0x49; // I
const LOGICAL_MESSAGE = 0x4d; // M
const ORIGIN = 0x4f; // O
const RELATION = 0x52; // R
const TRUNCATE = 0x54; // T
const UPDATE = 0x55; // U
const TYPE = 0x59; // Y

const OLD_FULL = 0x4f; // O
const OLD_KEY = 0x4b; // K

/** The last change the ledger holds: it and everything before it is dropped when the server sends it again. */
export interface Held {
  readonly lsn: bigint;
  /** Ordinal of the last change held of the transaction at `lsn`; -1: none of it. */
  readonly seq: number;
}

export interface DecoderOptions {
  readonly output: SourceOutput;
  readonly actors: ActorStage;
  /** First part of every id: the source's name, with `@2`, `@3` … after it moved to another cluster. */
  readonly idPrefix: string;
  /** The `source` of every record, before `lsn`. */
  readonly source: Readonly<Record<string, unknown>>;
  readonly held: Held;
  /** The database has no encoding (SQL_ASCII): text must be checked. */
  readonly checkUtf8: boolean;
  now(): number;
}

/** The transaction being received. */
interface OpenTransaction {
  readonly lsn: bigint;
  /** `lsn` as text. */
  readonly position: string;
  readonly xid: number;
  /** Commit time, microseconds since 1970. */
  readonly micros: bigint;
  /** Ordinals up to this one stand in the ledger already. */
  readonly heldSeq: number;
  fragments: TransactionFragments;
  /** Ordinal of the next change. */
  seq: number;
}

/** What a message asks of the stream: to look something up before the next message is decoded. */
export type Pending = RelationMessage | null;

/**
 * Decodes messages into records. `decode` is synchronous and must be called in order; when it returns a relation, the next
 * call must wait until `setRelation` was called for it.
 * @see https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class PgoutputDecoder {
  readonly #options: DecoderOptions;
  readonly #writer: ChangeWriter;
  readonly #relations = new Map<number, Relation>();
  /** The bytes of each relation's last message: the server repeats them unchanged after a cache invalidation. */
  readonly #messages = new Map<number, Buffer>();
  readonly #old = new Tuple();
  readonly #row = new Tuple();
  readonly #compile: (fields: TransactionFields) => TransactionFragments;
  readonly #context: { fragments: TransactionFragments; seq: number };
  #transaction: OpenTransaction | null = null;
  #held: Held;
  changes = 0;
  transactions = 0;
  /** Commit time of the last transaction, milliseconds since 1970. */
  commitMs = 0;
  /** Where the last whole transaction ends. */
  end = 0n;

  constructor(options: DecoderOptions) {
    this.#options = options;
    this.#held = options.held;
    this.#writer = new ChangeWriter(options.output, options.actors);
    const { idPrefix, source } = options;
    this.#compile = envelopeCompiler({ idPrefix, kind: 'change', source });
    this.#context = { fragments: NO_FRAGMENTS, seq: 0 };
  }

  /** True between a Begin and its Commit. */
  get inTransaction(): boolean {
    return this.#transaction !== null;
  }

  /** Where a record about a relation belongs that the server just described: the next change of the open transaction. */
  get place(): { lsn: bigint; seq: number; tx: string; time: string; held: boolean } | null {
    const tx = this.#transaction;
    if (tx === null) return null;
    return { lsn: tx.lsn, seq: tx.seq, tx: String(tx.xid), time: isoMicros(tx.micros), held: tx.seq <= tx.heldSeq };
  }

  /** Takes the message `b[at, end)`; nothing of it is kept. */
  decode(b: Buffer, at = 0, end = b.length): Pending {
    // Text is repaired in a copy of all bytes: only of this message's.
    if (this.#options.checkUtf8 && b.length > end - at) return this.decode(b.subarray(at, end));
    const kind = b[at]!;
    switch (kind) {
      case INSERT:
      case UPDATE:
      case DELETE:
        this.#change(kind, b, at, end);
        return null;
      case BEGIN:
        this.#begin(b, at);
        return null;
      case COMMIT:
        this.#commit(b, at);
        return null;
      case RELATION:
        return this.#relation(b.subarray(at, end));
      case TRUNCATE:
        this.#truncate(b.subarray(at, end));
        return null;
      case LOGICAL_MESSAGE:
        this.#message(b.subarray(at, end));
        return null;
      case ORIGIN:
        this.#origin(b.subarray(at, end));
        return null;
      case TYPE:
        return null; // Types are looked up by OID when a relation uses them.
      default:
        throw unknownMessage(kind);
    }
  }

  setRelation(relation: Relation): void {
    relation.count = this.#relations.get(relation.oid)?.count ?? 0;
    this.#relations.set(relation.oid, relation);
  }

  /** Compiled relations, for a look at which tables have been seen. */
  get relations(): ReadonlyMap<number, Relation> {
    return this.#relations;
  }

  #begin(b: Buffer, at: number): void {
    const lsn = b.readBigUInt64BE(at + 1);
    const micros = b.readBigInt64BE(at + 9) + POSTGRES_EPOCH_MICROS;
    const xid = b.readUInt32BE(at + 17);
    const held = this.#held;
    const position = formatLsn(lsn);
    this.commitMs = Number(micros / 1000n);
    this.#transaction = {
      lsn,
      position,
      xid,
      micros,
      heldSeq: lsn < held.lsn ? Number.MAX_SAFE_INTEGER : lsn === held.lsn ? held.seq : -1,
      fragments: this.#fragments(position, micros, xid, null),
      seq: 0,
    };
    this.#options.actors.begin({ id: String(xid), timeMs: this.commitMs });
  }

  #fragments(position: string, micros: bigint, xid: number, origin: string | null): TransactionFragments {
    return this.#compile({
      position,
      time: isoMicros(micros),
      captured: isoMillis(this.#options.now()),
      source: `,"lsn":"${position}","tx":"${xid}"${origin === null ? '' : `,"origin":${JSON.stringify(origin)}`}`,
    });
  }

  #origin(b: Buffer): void {
    const tx = this.#transaction;
    if (tx === null) return;
    tx.fragments = this.#fragments(tx.position, tx.micros, tx.xid, cstringReader(b, 9).next());
  }

  /** The position of a transaction names its commit and where it ends: a slot stands behind the one or the other. */
  #commit(b: Buffer, at: number): void {
    const tx = this.#transaction;
    if (tx === null) throw outOfOrder('Commit');
    this.#transaction = null;
    this.transactions++;
    this.end = b.readBigUInt64BE(at + 10);
    this.#options.output.reached(`${tx.position} ${formatLsn(this.end)}`);
  }

  #change(kind: number, b: Buffer, at: number, end: number): void {
    const tx = this.#transaction;
    if (tx === null) throw outOfOrder('Insert, Update or Delete');
    const seq = tx.seq++;
    if (seq <= tx.heldSeq) {
      // Some actors hold for one change only: the stage must see this one go by.
      this.#options.actors.fragment();
      return;
    }
    const relation = this.#find(b.readUInt32BE(at + 1));
    const context = this.#context;
    context.fragments = tx.fragments;
    context.seq = seq;
    if (kind === INSERT) {
      this.#readLast(this.#row, b, at + 6, end, relation);
      this.#writer.insert(context, relation, this.#row);
    } else if (kind === UPDATE) {
      this.#update(b, at + 5, end, relation);
    } else {
      this.#readLast(this.#old, b, at + 6, end, relation);
      this.#writer.delete(context, relation, oldRow(b[at + 5]!, relation, this.#old), this.#old);
    }
    this.#counted(relation);
  }

  #counted(relation: Relation): void {
    this.#options.actors.count(relation.schema, relation.table, 1);
    relation.count++;
    this.changes++;
  }

  #update(b: Buffer, from: number, end: number, relation: Relation): void {
    let at = from;
    let old: OldRow = 'none';
    const tag = b[at];
    if (tag === OLD_FULL || tag === OLD_KEY) {
      at = this.#read(this.#old, b, at + 1, relation);
      old = oldRow(tag, relation, this.#old);
    }
    this.#readLast(this.#row, b, at + 1, end, relation);
    this.#writer.update(this.#context, relation, old, this.#old, this.#row);
  }

  #read(tuple: Tuple, b: Buffer, at: number, relation: Relation): number {
    const end = tuple.read(b, at, relation.width);
    if (this.#options.checkUtf8) tuple.repair();
    return end;
  }

  /** Reads a row that must end where the message does: behind it stand other messages. */
  #readLast(tuple: Tuple, b: Buffer, at: number, end: number, relation: Relation): void {
    if (this.#read(tuple, b, at, relation) !== end) throw lengthError();
  }

  #truncate(b: Buffer): void {
    const tx = this.#transaction;
    if (tx === null) throw outOfOrder('Truncate');
    const count = b.readUInt32BE(1);
    const options = b[5]!;
    for (let i = 0; i < count; i++) {
      const seq = tx.seq++;
      if (seq <= tx.heldSeq) {
        this.#options.actors.fragment();
        continue;
      }
      const relation = this.#find(b.readUInt32BE(6 + 4 * i));
      const cascade = (options & 1) !== 0;
      this.#writer.truncate({ fragments: tx.fragments, seq }, relation, cascade, (options & 2) !== 0);
      this.#counted(relation);
    }
  }

  /** Only transactional messages say anything of a transaction; others come whenever the server likes. */
  #message(b: Buffer): void {
    const transactional = (b[1]! & 1) === 1;
    if (!transactional || this.#transaction === null) return;
    const prefix = cstringReader(b, 10);
    const via = factOf(prefix.next());
    if (via === null) return;
    const length = b.readUInt32BE(prefix.at);
    this.#options.actors.observe({ via, text: b.subarray(prefix.at + 4, prefix.at + 4 + length) });
  }

  #relation(b: Buffer): Pending {
    const oid = b.readUInt32BE(1);
    const known = this.#relations.get(oid);
    // Where the replica identity is no key, the message does not tell when the primary key changed: the catalog is asked again.
    const tellsKey = known?.identity === 'default' || known?.identity === 'index';
    if (tellsKey && this.#messages.get(oid)?.equals(b) === true) return null;
    this.#messages.set(oid, Buffer.from(b));
    return parseRelation(b);
  }

  #find(oid: number): Relation {
    const relation = this.#relations.get(oid);
    if (relation === undefined) {
      throw new AuditError('AUD_PG_PROTOCOL', {
        message: `A change names relation ${oid}, which the server did not describe.`,
        action: 'Report this with the server version.',
      });
    }
    return relation;
  }
}

/** Of a partition that sends its key only, all other columns are null: then nothing is claimed of them. */
function oldRow(tag: number, relation: Relation, old: Tuple): OldRow {
  if (tag !== OLD_FULL) return 'key';
  return relation.doubtfulOld && old.onlyHas(relation.keyColumns) ? 'key' : 'full';
}

const NO_FRAGMENTS: TransactionFragments = { head: new Uint8Array(0), source: new Uint8Array(0) };

function unknownMessage(kind: number): AuditError {
  const letter = kind >= 0x20 && kind < 0x7f ? ` ('${String.fromCharCode(kind)}')` : '';
  return new AuditError('AUD_PG_PROTOCOL', {
    message: `Replication message of unknown kind 0x${kind.toString(16).padStart(2, '0')}${letter}.`,
    action: 'Nothing after it was confirmed. Update changetrail, or report this with the server version.',
    data: { byte: kind },
  });
}

function lengthError(): AuditError {
  return new AuditError('AUD_PG_PROTOCOL', {
    message: 'A row does not end where its message ends.',
    action: 'Report this with the server version.',
  });
}

function outOfOrder(name: string): AuditError {
  return new AuditError('AUD_PG_PROTOCOL', {
    message: `${name} came outside of a transaction.`,
    action: 'Report this with the server version.',
  });
}
