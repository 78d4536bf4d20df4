import type { RowActorRule } from '../../../src/core/actor.ts';
import { fragment } from '../../../src/record/byte-writer.ts';
import { actionFragment } from '../../../src/record/envelope.ts';
import type { TypeForm } from '../types.ts';

export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index';

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = { d: 'default', n: 'nothing', f: 'full', i: 'index' };

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Part of the replica identity; under `full` the server says so of every column. */
  readonly identity: boolean;
}

/** A Relation message, parsed. It comes before a relation's first change in a session and again after each DDL. */
export interface RelationMessage {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly identity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}

/** @see https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html (Relation) */
export function parseRelation(b: Buffer): RelationMessage {
  const oid = b.readUInt32BE(1);
  const text = cstringReader(b, 5);
  const schema = text.next() || 'pg_catalog';
  const table = text.next();
  let at = text.at;
  const identity = IDENTITIES[String.fromCharCode(b[at]!)] ?? 'default';
  const count = b.readUInt16BE(at + 1);
  at += 3;
  const columns: RelationColumn[] = [];
  for (let i = 0; i < count; i++) {
    const key = (b[at]! & 1) === 1;
    const name = cstringReader(b, at + 1);
    columns.push({
      name: name.next(),
      typeOid: b.readUInt32BE(name.at),
      typeModifier: b.readInt32BE(name.at + 4),
      identity: key,
    });
    at = name.at + 8;
  }
  return { oid, schema, table, identity, columns };
}

/** Reads zero-terminated texts one after the other; `at` stands behind the last. */
export function cstringReader(b: Buffer, start: number): { at: number; next(): string } {
  return {
    at: start,
    next() {
      const end = b.indexOf(0, this.at);
      const text = b.toString('utf8', this.at, end);
      this.at = end + 1;
      return text;
    },
  };
}

/** What the catalog adds to a Relation message. */
export interface RelationDetails {
  readonly forms: readonly TypeForm[];
  /** Type names as the server formats them (`character varying(20)`), in column order. */
  readonly typeNames: readonly string[];
  /** The columns' numbers in the table, which a rename keeps; null where the catalog has no column of the name any more. */
  readonly numbers: readonly (number | null)[];
  /** Names of the primary key's columns, in its order; empty without one. */
  readonly primaryKey: readonly string[];
  /** It stands for its partitions, each of which has a replica identity of its own. */
  readonly partitioned: boolean;
  /** Columns of the table that the publication leaves out (generated ones, column lists). */
  readonly notCaptured: readonly string[];
}

/** A relation, compiled for the decoder: every constant piece of its records as bytes. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly identity: ReplicaIdentity;
  readonly width: number;
  /** `"name":` of each column. */
  readonly keys: readonly Uint8Array[];
  /** `"name"` of each column. */
  readonly names: readonly Uint8Array[];
  /** Bytes of all `keys`, with their commas. */
  readonly keysLength: number;
  /** The form's number of each column, beside `types` so that the inner loop reads bytes. */
  readonly forms: Uint8Array;
  readonly types: readonly TypeForm[];
  /** Columns of the object's key; empty when the table has none. */
  readonly keyColumns: Int32Array;
  readonly action: { readonly insert: Uint8Array; readonly update: Uint8Array; readonly delete: Uint8Array };
  readonly truncate: (options: { cascade: boolean; restartIdentity: boolean }) => {
    readonly action: Uint8Array;
    readonly details: Uint8Array;
  };
  /**
   * The server says that old rows are whole, because the partitioned table has REPLICA IDENTITY FULL; but they are only as
   * whole as the replica identity of their partition.
   */
  readonly doubtfulOld: boolean;
  /** `"before":"replica_identity_default"`, for records without an old row. */
  readonly noBefore: Uint8Array;
  /** Reason as text, and `,"missing":{"before":"…"}` finished. */
  readonly missingBefore: Uint8Array;
  readonly rowRule: RowActorRule | null;
  /** Column of the row rule, or -1. */
  readonly rowRuleColumn: number;
  /** Changes written since the stream was opened. */
  count: number;
}

export function compileRelation(
  message: RelationMessage,
  details: RelationDetails,
  rowRule: RowActorRule | null,
): Relation {
  const object = { schema: message.schema, table: message.table };
  const names = message.columns.map((column) => fragment(JSON.stringify(column.name)));
  const keys = message.columns.map((column) => fragment(`${JSON.stringify(column.name)}:`));
  const doubtfulOld = details.partitioned && message.identity === 'full';
  const reason = `replica_identity_${doubtfulOld ? 'of_partition' : message.identity}`;
  return {
    oid: message.oid,
    schema: message.schema,
    table: message.table,
    identity: message.identity,
    width: message.columns.length,
    keys,
    names,
    keysLength: keys.reduce((sum, key) => sum + key.length + 1, 0),
    forms: Uint8Array.from(details.forms, (type) => type.form),
    types: details.forms,
    keyColumns: keyColumns(message, details.primaryKey),
    action: {
      insert: actionFragment('insert', object),
      update: actionFragment('update', object),
      delete: actionFragment('delete', object),
    },
    truncate: ({ cascade, restartIdentity }) => ({
      action: actionFragment('truncate', object),
      details: fragment(`,"details":{"cascade":${cascade},"restart_identity":${restartIdentity}}`),
    }),
    doubtfulOld,
    noBefore: fragment(`"before":"${reason}"`),
    missingBefore: fragment(`,"missing":{"before":"${reason}"}`),
    rowRule,
    rowRuleColumn: rowRule === null ? -1 : message.columns.findIndex((column) => column.name === rowRule.column),
    count: 0,
  };
}

/** The replica identity's columns where it is a key; else those of the primary key, if the relation has them all. */
function keyColumns(message: RelationMessage, primaryKey: readonly string[]): Int32Array {
  const place = (name: string) => message.columns.findIndex((column) => column.name === name);
  if (message.identity === 'default' || message.identity === 'index') {
    const flagged = message.columns.flatMap((column, i) => (column.identity ? [i] : []));
    // The catalog knows the key's own column order; the message has the table's.
    const ordered = primaryKey.map(place);
    const same = ordered.length === flagged.length && ordered.every((i) => flagged.includes(i));
    return Int32Array.from(same ? ordered : flagged);
  }
  const columns = primaryKey.map(place);
  return Int32Array.from(columns.includes(-1) ? [] : columns);
}

export interface ColumnDefinition {
  readonly name: string;
  readonly type: string;
  /** The column's number, which a rename keeps; absent when the column was gone before it could be looked up. */
  readonly number?: number;
}

/** What a `schema` record says of a table. */
export interface TableDefinition {
  readonly oid: number;
  readonly columns: readonly ColumnDefinition[];
  readonly replica_identity: ReplicaIdentity;
  readonly key: readonly string[];
  readonly not_captured?: readonly string[];
}

export function tableDefinition(message: RelationMessage, details: RelationDetails): TableDefinition {
  return {
    oid: message.oid,
    columns: message.columns.map((column, i) => ({
      name: column.name,
      type: details.typeNames[i] ?? 'unknown',
      ...(details.numbers[i] == null ? {} : { number: details.numbers[i] }),
    })),
    replica_identity: message.identity,
    key: Array.from(keyColumns(message, details.primaryKey), (i) => message.columns[i]!.name),
    ...(details.notCaptured.length === 0 ? {} : { not_captured: details.notCaptured }),
  };
}
