/** What a sink's page shows beyond its options and behaviour. */
export interface SinkNotes {
  /** Name of the sink in the example. */
  readonly name: string;
  /** Options of the example, without `type`. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Optional packages to install. */
  readonly packages?: string;
  readonly notes?: readonly string[];
}

export const SINK_NOTES: Readonly<Record<string, SinkNotes>> = {
  kafka: {
    name: 'bus',
    packages: '@platformatic/kafka',
    example: {
      brokers: ['kafka-1.example.com:9093', 'kafka-2.example.com:9093'],
      topic: 'audit',
      sasl: { mechanism: 'SCRAM-SHA-512', username: 'changetrail', password: '${KAFKA_PASSWORD}' },
      tls: { ca: '/etc/ssl/kafka-ca.pem' },
      format: 'debezium',
    },
    notes: [
      'A record counts as delivered when all in-sync replicas have it (`acks=all`). Give the topic `min.insync.replicas` of 2 or more, or that is one copy.',
      'The message’s key is `source/schema.table/key`, so the history of a row stays in one partition and in order. When a row’s key itself is updated, the later changes have the new key. The header `index` orders everything.',
      'The producer is idempotent, so a lost acknowledgement makes no duplicate while the producer lives. After a crash, or a failure that outlasts `timeout_ms`, records can arrive twice: the header `id` is the key to drop them by.',
      'The user needs `WRITE` on the topic and, up to Kafka 2.8, `IDEMPOTENT_WRITE` on the cluster. The topic is not created for you.',
      'With `format: debezium` a delete is one message; no tombstone follows it.',
    ],
  },
  nats: {
    name: 'bus',
    packages: '@nats-io/transport-node @nats-io/jetstream',
    example: {
      servers: ['nats://nats-1.example.com:4222'],
      stream: 'AUDIT',
      subject: 'audit.{source}.{kind}.{object}',
      credentials: '${NATS_CREDENTIALS}',
      tls: { ca: '/etc/ssl/nats-ca.pem' },
    },
    notes: [
      'A stream must hold the subjects: `nats stream add AUDIT --subjects "audit.>" --dupe-window 10m`. Until there is one, the sink waits.',
      'Each record is acknowledged by the stream, by as many replicas as it has. `Nats-Msg-Id` is the record’s id: within the stream’s duplicate window nothing stands twice, also after a crash.',
      'The headers `Changetrail-Index` and `Changetrail-Kind` say what a message is without reading it.',
    ],
  },
  s3: {
    name: 'archive',
    packages: '@aws-sdk/client-s3',
    example: {
      bucket: 'acme-audit',
      prefix: 'changetrail/',
      region: 'eu-central-1',
      object_lock: { mode: 'COMPLIANCE', retention_days: 400 },
      batch_wait_ms: 300_000,
    },
    notes: [
      'Keys: `SOURCE/dt=2026-11-24/hour=10/FIRST-LAST-DIGEST.ndjson.gz`, by the hour a record happened in. `dt` and `hour` are partitions that Athena, Trino, Spark and DuckDB read as such. FIRST and LAST are places in the ledger, DIGEST is the beginning of the content’s SHA-256.',
      'Each round ends with a manifest, `manifests/dt=…/FIRST-LAST-DIGEST.json`: the range of records, and for each object its key, count, size and SHA-256, of the NDJSON and of the stored bytes. An object that no manifest names is left from a round that was cut off; its records are in another one.',
      'Objects are written with `If-None-Match: *`: nothing is ever overwritten, and the same content is written once. After a crash a round may be cut differently; then records stand in two objects, under the same id.',
      'Rights: `s3:PutObject`; with Object Lock `s3:PutObjectRetention`, and `s3:GetBucketObjectLockConfiguration` for `changetrail doctor`. No right to read, list or delete is needed.',
      '`object_lock` needs a bucket that was created with it. In COMPLIANCE mode nobody can delete an object before its time, not even the account’s owner: try with GOVERNANCE first.',
      'An object is larger, and there are fewer, the longer records may wait (`batch_wait_ms`) and the more a round may hold (`batch_bytes`).',
    ],
  },
  syslog: {
    name: 'siem',
    example: {
      host: 'syslog.example.com',
      port: 2514,
      transport: 'relp_tls',
      tls: { ca: '/etc/ssl/syslog-ca.pem', cert: '/etc/ssl/client.pem', key: '/etc/ssl/client.key' },
      max_message_bytes: 65_536,
    },
    notes: [
      'Use RELP where the receiver has it (rsyslog’s `imrelp`): every message is acknowledged. Plain syslog has no acknowledgement at all; `changetrail doctor` says so, and `changetrail run` once in its log.',
      'With `tcp` and `tls`, `confirm: close` makes the best of that: a batch is a connection, and it counts when the receiver has read to its end and closed. Over TLS the end is the receiver’s own word; over plain TCP a proxy on the way can give it too. `confirm: none` is faster, and loses what is on the way when a connection breaks.',
      'Messages are framed by octet counting. The length limit of the receiver must be at least `max_message_bytes`: a receiver with a smaller one cuts messages, or takes the rest for another message, and says nothing. rsyslog: `global(maxMessageSize="64k")`, syslog-ng: `log-msg-size()`.',
      'The structured data hold `id`, `index`, `source`, `action`, `object`, `actor`, `assurance` and `outcome`; MSGID is the kind. The severity is `err` for a gap, `warning` for alerts and for what failed or was denied, otherwise `info`.',
    ],
  },
  otlp: {
    name: 'otel',
    packages: '@opentelemetry/otlp-transformer @opentelemetry/resources @opentelemetry/api',
    example: {
      url: 'https://otel.example.com:4318',
      token: '${OTLP_TOKEN}',
      resource: { 'deployment.environment.name': 'production' },
    },
    notes: [
      'The body is the record as JSON text, so that it is the ledger’s record to the byte. Attributes follow the semantic conventions where there is one: `db.system.name`, `db.namespace`, `db.collection.name`, `db.operation.name`, `user.id`, `client.address`; the others begin with `changetrail.`.',
      'A `traceparent` that the application sent along with its actor makes the record part of the trace.',
      'A partial success does not say which records were rejected: the sink finds them by sending halves again. Those that were taken arrive a second time; `changetrail.id` is the key to drop them by.',
      'The Collector acknowledges when its pipeline has taken the records. For more than that, give its exporters a persistent queue (`sending_queue.storage`).',
    ],
  },
};
