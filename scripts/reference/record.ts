import { recordSchema } from '../../src/record/schema.ts';
import { optionTable } from './options.ts';

export function recordReference(): string {
  return `<!-- Generated from src/record/schema.ts by npm run generate. -->

# The record, version 1

One JSON object a line. Who: \`actor\`. What: \`action\` + \`object\` (+ \`changed\`, \`before\`, \`after\`). When: \`time\`. Outcome: \`outcome\`.
JSON Schema: \`schema/record.v1.json\`.

${optionTable(recordSchema)}
## How values are written

**PostgreSQL.** The session's settings that change text are pinned (ISO dates, UTC, shortest exact floats, hex bytea, money as in locale C).

| type | in the record |
|---|---|
| boolean | \`true\`, \`false\` |
| int2, int4, oid, float4, float8 | number; \`NaN\`, \`Infinity\`, \`-Infinity\` as text |
| int8, numeric | text, exact in every reader |
| json, jsonb | JSON as it stands |
| timestamp, timestamptz | ISO 8601, timestamptz in UTC with \`Z\`; \`infinity\` and years BC as the server writes them |
| arrays | JSON arrays of the element's form; an array with its own lower bounds stays text |
| bytea | \`\\x…\` hex text |
| a domain | as its base type |
| everything else | the server's text |

SQL's NULL is \`null\`. A value that is not in the record is not there at all, and \`missing\` says why:

| reason | meaning |
|---|---|
| \`replica_identity_default\`, \`_index\`, \`_nothing\` | the server sends no old row for this table: \`alter table … replica identity full\` |
| \`unchanged_toast\` | a large value that did not change and is not sent again |
| \`truncate\` | TRUNCATE does not say which rows it removed |
| \`invalid_utf8\` | the database has no encoding and the value was not UTF-8: broken bytes are U+FFFD |
| \`image_not_enabled\`, \`image_expired\` | MongoDB keeps no pre- or post-image for it |
| \`too_large\` | over the limit of the source |
`;
}
