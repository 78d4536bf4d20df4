import { z } from 'zod';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { tlsOption } from '../shared/tls.ts';

/** Options of the `kafka` sink. */
export const kafkaOptions = z
  .strictObject({
    type: z.literal('kafka'),
    brokers: z
      .array(z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d+$/))
      .nonempty()
      .meta({ description: 'Bootstrap brokers, `host:port`.', example: ['kafka-1.example.com:9092'] }),
    topic: z.string().min(1).max(249).meta({ description: 'Topic. It must exist.', example: 'audit' }),
    sasl: z
      .strictObject({
        mechanism: z.enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']).meta({ description: 'Mechanism.' }),
        username: z.string().min(1).meta({ description: 'User.' }),
        password: z.string().meta({ description: 'Password.' }),
      })
      .optional()
      .meta({
        description: 'SASL authentication.',
        example: { mechanism: 'SCRAM-SHA-512', username: 'changetrail', password: '${KAFKA_PASSWORD}' },
      }),
    tls: tlsOption.optional().meta({
      description: 'TLS; `tls: {}` uses it with the system’s certificate authorities.',
      example: { ca: '/etc/ssl/kafka-ca.pem' },
    }),
    compression: z
      .enum(['none', 'gzip', 'snappy', 'lz4', 'zstd'])
      .default('zstd')
      .meta({ description: 'Compression of record batches.', example: 'lz4' }),
    timeout_ms: z.number().int().positive().default(30_000).meta({
      description: 'Longest wait for a connection and for an acknowledgement of all replicas, in milliseconds.',
      example: 10_000,
    }),
    max_message_bytes: z.number().int().min(4096).default(1_000_000).meta({
      description: 'Most bytes a request to one partition: the topic’s `max.message.bytes` less a little.',
      example: 5_000_000,
    }),
    format: formatOption.meta({
      description:
        'Shape of the message’s value: `native`, `ecs`, `ocsf`, `cloudevents`, or `debezium` for consumers of Debezium’s topics.',
      example: 'debezium',
    }),
    ...deliveryShape,
  })
  .meta({
    description:
      'Apache Kafka and what speaks its protocol. The producer is idempotent and waits for all in-sync replicas. The key is the row’s key, so one row’s history stays ordered in its partition; the headers `id`, `kind` and `index` say what a message is.',
  });

export type KafkaOptions = z.infer<typeof kafkaOptions>;
