// One page a sink: its options, an example that a test parses, and what "delivered" means there.
import { stringify } from 'yaml';
import type { z } from 'zod';
import { CATALOGS } from '../../src/cli/registry.ts';
import { optionTable } from './options.ts';
import { SINK_NOTES } from './sink-notes.ts';

interface Behaviour {
  /** What makes the cursor move. */
  readonly delivered: string;
  readonly order: string;
  /** What becomes of a record that is sent twice. */
  readonly copies: string;
  readonly notes?: readonly string[];
}

const BY_LEDGER = 'That of the ledger.';
const BEHAVIOUR: Readonly<Record<string, Behaviour>> = {
  stdout: {
    delivered: 'The operating system took the bytes. What a reader of the pipe does with them is not known.',
    order: BY_LEDGER,
    copies: 'Stand there twice; `id` tells.',
    notes: [
      'A slow reader makes this sink wait, nothing else. When the reader goes away, `changetrail run` ends in order.',
      'A full disk behind a redirection is waited for; a batch goes on where it stopped, so that no line is torn.',
    ],
  },
  file: {
    delivered: 'The bytes are written and synced to the disk (`fsync: true`), or written (`fsync: false`).',
    order: BY_LEDGER,
    copies: 'Stand there twice after a crash of at most a second’s work; `id` tells.',
    notes: [
      'A torn last line that a crash left is cut at the next start.',
      'A full disk and a missing right are waited for like a receiver that is down.',
    ],
  },
  http: {
    delivered: 'A complete answer with a status from 200 to 299.',
    order: BY_LEDGER,
    copies:
      'The receiver’s business: `id` tells, and the `webhook-id` of a repeated request is the same, unless it had to be made smaller.',
    notes: ['400 and 422 refuse the records; 413 asks for smaller requests; everything else is tried again for ever.'],
  },
  splunk_hec: {
    delivered:
      'With `acknowledge: true`: the indexers said that the events are written. Without: status 200 and code 0, which means in Splunk’s memory.',
    order: 'Splunk’s, by time. `index` gives that of the ledger.',
    copies: 'Are kept: search with `| dedup id`.',
    notes: [
      'A request that was not acknowledged in time is sent again; the acknowledgement may have been lost or the indexer may have died.',
      'An event with an error is found by its number, or by halving, and goes to the dead letters alone.',
      'Splunk cannot be had for tests: the acknowledgements are tested against a receiver that follows Splunk’s documentation, the wire format also against VictoriaLogs.',
    ],
  },
  elasticsearch: {
    delivered: '`_bulk` answered 201 for the document, or 409: it is there already.',
    order: 'None; sort by `event.sequence` (ECS) or `index`.',
    copies:
      'Are dropped by the document’s id, except when the data stream rolled over in between: a data stream’s indexes do not know each other’s ids.',
    notes: [
      '`changetrail setup --sinks` prints the index template (`before` and `after` as `flattened`, in OpenSearch `flat_object`) and the lifecycle; with `--apply` it installs them.',
      '429, 503 and blocked indexes are tried again item by item; what the mapping refuses goes to the dead letters with the error’s type, never with its text, which quotes the document.',
      'Tested against OpenSearch 2.19; Elasticsearch itself cannot be had for tests.',
    ],
  },
  datadog: {
    delivered: 'Status 202.',
    order: 'None; sort by `index`.',
    copies: 'Are kept: `id` tells.',
    notes: [
      'Datadog takes the message apart into attributes. A record older than 18 hours is sent without `timestamp`: it stands under its arrival, its own time in `time`. `changetrail replay` tells beforehand.',
      'Datadog cannot be had for tests: its limits are those of its documentation, the wire format is tested against VictoriaLogs.',
    ],
  },
  loki: {
    delivered: 'Status 204 (or 200).',
    order: 'That of the ledger within a stream.',
    copies: 'Loki drops an entry with the same time and text in a stream.',
    notes: [
      'Labels are `source`, `kind`, `action` and those of `labels`; `id`, `index`, `object`, `actor`, `assurance` and `outcome` are structured metadata (Loki 3).',
      'Loki refuses what is too old (a week, or behind its chunks) while it keeps the rest of the request: such a record is found by halving and handled as `too_old` says. `changetrail replay` tells beforehand.',
      'Loki is not used in tests for its licence: a receiver that follows its documentation stands for it, the wire formats are tested against VictoriaLogs.',
    ],
  },
  kafka: {
    delivered: 'The brokers acknowledged with `acks=all`.',
    order: 'That of the ledger for each row or document: the key of a message is the object’s key.',
    copies:
      'The idempotent producer drops its own repetitions; after a restart of changetrail `id` (a header too) tells.',
  },
  nats: {
    delivered: 'JetStream acknowledged the message.',
    order: BY_LEDGER,
    copies: 'Are dropped within the stream’s duplicate window: `Nats-Msg-Id` is the record’s id.',
  },
  s3: {
    delivered: 'All objects of the round and its manifest are stored.',
    order: 'That of the ledger in each object; objects are named by what they hold.',
    copies:
      'The same round is the same objects and is stored once; a round that a crash cut differently stands in other objects too. `id` tells.',
  },
  syslog: {
    delivered:
      'With RELP: the receiver acknowledged the message. Over TCP and TLS with `confirm: close`: it read all of the batch and ended the connection; with `none`: the bytes were taken by the connection.',
    order: BY_LEDGER,
    copies: 'Are kept: the id in the structured data tells.',
  },
  otlp: {
    delivered: 'Status 200 without rejected log records in `partialSuccess`.',
    order: BY_LEDGER,
    copies: 'Are kept: the attribute with the record’s id tells.',
  },
};

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
}

const definition = (schema: z.ZodType) => (schema as unknown as { def: Definition }).def;
const about = (schema: z.ZodType) => (schema.meta() ?? {}) as { description?: string; example?: unknown };

/** A working configuration of a type: the one that its notes show, or the smallest: what is required, by its examples. */
export function exampleOf(type: string, schema: z.ZodType): string {
  const shown = SINK_NOTES[type];
  if (shown !== undefined) return yaml(shown.name, { type, ...shown.example });
  const entry: Record<string, unknown> = { type };
  for (const [key, option] of Object.entries(definition(schema).shape ?? {})) {
    if (key !== 'type' && !option.safeParse(undefined).success) entry[key] = about(option).example;
  }
  return yaml(type.replaceAll('_', '-'), entry);
}

function yaml(name: string, sink: object): string {
  return stringify({ sinks: { [name]: sink } }, { lineWidth: 0 }).trim();
}

/** Path below `docs/reference/sinks/` → page. */
export async function sinkReference(): Promise<Record<string, string>> {
  const pages: Record<string, string> = {};
  const list: string[] = [];
  for (const type of CATALOGS.sinks.types) {
    const schema = await CATALOGS.sinks.options(type);
    pages[`${type}.md`] = page(type, schema);
    list.push(`| [\`${type}\`](${type}.md) | ${about(schema).description ?? ''} |`);
  }
  return { 'README.md': overview(list), ...pages };
}

function page(type: string, schema: z.ZodType): string {
  const behaviour = BEHAVIOUR[type];
  const facts =
    behaviour === undefined
      ? ''
      : `
| | |
|---|---|
| Delivered means | ${behaviour.delivered} |
| Order | ${behaviour.order} |
| Sent twice | ${behaviour.copies} |
${[...(behaviour.notes ?? []), ...(SINK_NOTES[type]?.notes ?? [])].map((note) => `\n- ${note}`).join('')}
`;
  return `<!-- Generated from the sink's options by npm run generate. -->

# Sink \`${type}\`

${about(schema).description ?? ''}
${installation(type)}
\`\`\`yaml
${exampleOf(type, schema)}
\`\`\`
${facts}
## Options

${optionTable(schema)}
What all sinks have in common (retries, dead letters, records that are too large, replay) is in [README.md](README.md).
`;
}

function installation(type: string): string {
  const packages = SINK_NOTES[type]?.packages;
  return packages === undefined ? '' : `\nIt needs a client library: \`npm install ${packages}\`.\n`;
}

function overview(list: readonly string[]): string {
  return `<!-- Generated from the sinks' options by npm run generate. -->

# Sinks

Every sink reads the ledger from its own durable cursor (\`cursors/‹name›.json\` in the data directory). A dead sink holds up neither capture nor other sinks; a new one starts at
the first record kept (\`start: now\` at the next one).

| type | |
|---|---|
${list.join('\n')}

## What holds for all

- **At least once.** The cursor moves only when the receiver has said that it has the records, as strongly as it can say it; each page says how. After a crash up to a second's work is sent again,
  with the same ids.
- **A receiver that is down** is tried for ever, with growing random waits up to \`retry_max_ms\`, or the time it names (\`Retry-After\`). The log says so once when it starts and once when it
  ends. Refused credentials and wrong addresses count as down: no record is given up for them.
- **A receiver that is overloaded** (429, or 503 with a time) gets smaller requests: half of what it had no room for, then a quarter more with each request that it takes. The same after five
  failures in a row without a reason. 413 halves a request at once.
- **A record that is refused for good** goes to \`dead-letters/‹name›.ndjson\`, with the reason and the ledger's index, and a \`capture\` record with the action \`dead_letter\` tells of it in the ledger. A
  request that is refused as a whole is halved until the bad record is alone. \`changetrail replay ‹sink› --dead-letters\` sends them again when the cause is mended.
- **A record that retention removes** from the ledger (\`ledger.retention\`) while its receiver is down is lost to that receiver: the log says so, \`sink_removed\` counts it, a \`capture\` record with the
  action \`not_delivered\` says from where to where, and the sink goes on behind it. Retention does not wait for sinks: keep it longer than a receiver can be away.
- **A record over the receiver's limit** is sent with its largest values replaced (\`oversized: digest\`: \`missing\` names them, \`details.digests\` has SHA-256 and size of each value's JSON text as it
  stands in the ledger), or in numbered parts (\`split\`: ids \`‹id›#part1\` …, the texts of \`details.part.text\` in order are the record's line, \`details.part.sha256\` its digest; a part that is
  still too large is split in the same way). Text is never cut.
- **Filters** leave out records by kind, object, action, actor or a CEL expression; they stay in the ledger and are counted. \`values: changed\` or \`none\` sends fewer row values; \`missing\` says so.
- **A thread of its own**: what mapping and compression cost is not taken from capture. \`stdout\` in \`native\` format runs beside it.
- **\`changetrail replay ‹sink› --from ‹index, time or id› --to …\`** sends a range again and leaves the cursor where it is. A time is that of the
  capture, UTC without a zone. What is too old for the receiver to keep under its own time (Datadog 18 hours, Loki a week) is told before anything is sent; \`--accept-old\` sends it all the same.
- **\`changetrail status\`** shows cursor, lag in records and seconds, last error and waiting dead letters of each sink; **\`changetrail doctor\`** sends a test record (kind \`capture\`, action \`test\`,
  index 0; it is in no ledger) and says what came back. A file and standard output are only looked at.
- TLS certificates are verified unless \`tls.verify: false\`, which is logged as a warning; \`NODE_TLS_REJECT_UNAUTHORIZED\` has no say in it. \`HTTPS_PROXY\` and
  \`NO_PROXY\` are followed by the sinks that speak HTTP, \`s3\` excepted.

## Tests

\`npm test\` runs one conformance suite against each sink, with receivers that are light: HTTP servers in the test that speak the real wire format, and small real servers. With
\`CHANGETRAIL_SINKS=all\` the suite also runs against VictoriaLogs, OpenSearch and Apache Kafka, which are built once. A receiver that cannot be had fails its suite with all that was tried, unless
\`CHANGETRAIL_SKIP_MISSING_RECEIVERS=1\` says to skip and count it (\`test/support/receivers/README.md\`). \`CHANGETRAIL_BACKLOG=500000\` sets the length of the backlog. Random schedules of faults between sink
and receiver are in \`test/fault/sinks.test.ts\` and \`sinks-tcp.test.ts\`.
`;
}
