import type { SourceOutput } from '../../src/core/output.ts';
import {
  actionFragment,
  OUTCOME_SUCCESS,
  type TransactionFragments,
  writeEnvelope,
} from '../../src/record/envelope.ts';
import type { KnownTable, SchemaChange } from './schema-changes.ts';

/**
 * A `schema` record in its place in the stream: just before the first change that has the new form. Relation messages are
 * not counted by ordinals (the server repeats them as it likes), so the id is that of the change with the relation's OID.
 */
export function writeSchemaRecord(
  output: SourceOutput,
  fragments: TransactionFragments,
  seq: number,
  oid: number,
  change: SchemaChange,
  table: KnownTable,
): void {
  const out = output.begin();
  writeEnvelope(out, fragments, seq, `:schema:${oid}`);
  out.bytes(actionFragment(change.action, { schema: table.schema, table: table.table }));
  out.ascii('}');
  out.bytes(OUTCOME_SUCCESS);
  const rest = {
    ...(change.changed.length === 0 ? {} : { changed: change.changed }),
    ...(Object.keys(change.details).length === 0 ? {} : { details: change.details }),
    ...(change.before === undefined ? {} : { before: change.before }),
    after: change.after,
  };
  const json = JSON.stringify(rest);
  out.bytes(Buffer.from(`,${json.slice(1)}`, 'utf8'));
  output.end();
}
