// Changes as records: from places in the server's bytes to one JSON line in the ledger's buffer.
import type { ActorStage } from '../../../src/core/actor.ts';
import type { SourceOutput } from '../../../src/core/output.ts';
import { type ByteWriter, fragment } from '../../../src/record/byte-writer.ts';
import { OUTCOME_SUCCESS, type TransactionFragments, writeEnvelope } from '../../../src/record/envelope.ts';
import type { Relation } from './relation.ts';
import { type Tuple, UNCHANGED_CELL, writeCell, writeRow } from './tuple.ts';

const KEY = fragment(',"key":{');
const OLD_KEY = fragment(',"old_key":{');
const CHANGED = fragment(',"changed":[');
const MISSING = fragment(',"missing":{');
const BEFORE = fragment(',"before":');
const AFTER = fragment(',"after":');
const COMMA = 0x2c;
const CLOSE_BRACE = 0x7d;
const CLOSE_BRACKET = 0x5d;

/** Which old row the server sent: all of it, only its key, or none. */
export type OldRow = 'full' | 'key' | 'none';

/** The transaction a change is written in. */
export interface ChangeContext {
  readonly fragments: TransactionFragments;
  readonly seq: number;
}

export class ChangeWriter {
  readonly #output: SourceOutput;
  readonly #actors: ActorStage;

  constructor(output: SourceOutput, actors: ActorStage) {
    this.#output = output;
    this.#actors = actors;
  }

  insert(context: ChangeContext, relation: Relation, row: Tuple): void {
    const out = this.#start(context, relation.action.insert);
    this.#key(out, relation, row);
    this.#actor(out, relation, row);
    writeMissing(out, relation, null, row);
    out.bytes(AFTER);
    writeRow(out, relation, row);
    this.#end(out);
  }

  update(context: ChangeContext, relation: Relation, oldRow: OldRow, old: Tuple, row: Tuple): void {
    if (oldRow === 'full' && row.unchanged > 0) row.fillFrom(old);
    const out = this.#start(context, relation.action.update);
    this.#key(out, relation, row, oldRow === 'none' ? undefined : old);
    this.#actor(out, relation, row);
    if (oldRow === 'full') writeChanged(out, relation, old, row);
    writeMissing(out, relation, oldRow === 'full' ? old : null, row, oldRow !== 'full');
    if (oldRow === 'full') {
      out.bytes(BEFORE);
      writeRow(out, relation, old);
    }
    out.bytes(AFTER);
    writeRow(out, relation, row);
    this.#end(out);
  }

  delete(context: ChangeContext, relation: Relation, oldRow: OldRow, old: Tuple): void {
    const out = this.#start(context, relation.action.delete);
    this.#key(out, relation, old);
    out.byte(CLOSE_BRACE);
    // Who wrote the row last is not who deletes it: no row rule here.
    out.bytes(this.#actors.fragment());
    out.bytes(OUTCOME_SUCCESS);
    writeMissing(out, relation, oldRow === 'full' ? old : null, null, oldRow !== 'full');
    if (oldRow === 'full') {
      out.bytes(BEFORE);
      writeRow(out, relation, old);
    }
    this.#end(out);
  }

  truncate(context: ChangeContext, relation: Relation, cascade: boolean, restartIdentity: boolean): void {
    const { action, details } = relation.truncate({ cascade, restartIdentity });
    const out = this.#start(context, action);
    out.byte(CLOSE_BRACE);
    out.bytes(this.#actors.fragment());
    out.bytes(OUTCOME_SUCCESS);
    out.bytes(fragment(',"missing":{"before":"truncate"}'));
    out.bytes(details);
    this.#end(out);
  }

  #start(context: ChangeContext, action: Uint8Array): ByteWriter {
    const out = this.#output.begin();
    writeEnvelope(out, context.fragments, context.seq);
    out.bytes(action);
    return out;
  }

  #end(out: ByteWriter): void {
    out.byte(CLOSE_BRACE);
    this.#output.end();
  }

  /** `,"key":{…}` and, where the key changed, `,"old_key":{…}`. */
  #key(out: ByteWriter, relation: Relation, row: Tuple, old?: Tuple): void {
    const columns = relation.keyColumns;
    if (columns.length === 0) return;
    // A key kept out of line and not changed is sent with the old row only.
    if (old !== undefined && row.unchanged > 0) row.fillKeyFrom(old, columns);
    writeKey(out, KEY, relation, row);
    if (old !== undefined && columns.some((i) => !row.same(old, i))) writeKey(out, OLD_KEY, relation, old);
  }

  /** Closes `object` and writes actor, context and outcome. */
  #actor(out: ByteWriter, relation: Relation, row: Tuple): void {
    out.byte(CLOSE_BRACE);
    const column = relation.rowRuleColumn;
    const writer = column === -1 || this.#actors.known ? null : row.text(column);
    out.bytes(writer === null ? this.#actors.fragment() : this.#actors.inferred(relation.rowRule!, writer));
    out.bytes(OUTCOME_SUCCESS);
  }
}

function writeKey(out: ByteWriter, name: Uint8Array, relation: Relation, row: Tuple): void {
  out.bytes(name);
  let first = true;
  for (const i of relation.keyColumns) {
    if (row.length[i] === UNCHANGED_CELL) continue;
    if (!first) out.byte(COMMA);
    first = false;
    out.bytes(relation.keys[i]!);
    writeCell(out, relation, row, i);
  }
  out.byte(CLOSE_BRACE);
}

function writeChanged(out: ByteWriter, relation: Relation, old: Tuple, row: Tuple): void {
  out.bytes(CHANGED);
  let first = true;
  for (let i = 0; i < relation.width; i++) {
    if (row.length[i] === UNCHANGED_CELL || row.same(old, i)) continue;
    if (!first) out.byte(COMMA);
    first = false;
    out.bytes(relation.names[i]!);
  }
  out.byte(CLOSE_BRACKET);
}

/** `,"missing":{…}` where there is something to say. */
function writeMissing(
  out: ByteWriter,
  relation: Relation,
  old: Tuple | null,
  row: Tuple | null,
  noBefore = false,
): void {
  const unusual =
    (row?.unchanged ?? 0) + (row?.invalid.length ?? 0) + (old?.unchanged ?? 0) + (old?.invalid.length ?? 0);
  if (unusual === 0) {
    if (noBefore) out.bytes(relation.missingBefore);
    return;
  }
  const entries: string[] = noBefore ? [Buffer.from(relation.noBefore).toString()] : [];
  for (const [side, tuple] of [
    ['before', old],
    ['after', row],
  ] as const) {
    if (tuple === null) continue;
    for (let i = 0; i < relation.width; i++) {
      const reason =
        tuple.length[i] === UNCHANGED_CELL ? 'unchanged_toast' : tuple.invalid.includes(i) ? 'invalid_utf8' : null;
      if (reason === null) continue;
      const name = JSON.parse(Buffer.from(relation.names[i]!).toString()) as string;
      entries.push(`${JSON.stringify(`${side}.${name}`)}:"${reason}"`);
    }
  }
  out.bytes(MISSING);
  out.bytes(Buffer.from(entries.join(',')));
  out.byte(CLOSE_BRACE);
}
