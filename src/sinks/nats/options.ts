import { z } from 'zod';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { tlsOption } from '../shared/tls.ts';

/** Options of the `nats` sink. */
export const natsOptions = z
  .strictObject({
    type: z.literal('nats'),
    servers: z
      .array(z.string().min(1))
      .nonempty()
      .meta({ description: 'Servers of one cluster.', example: ['nats://nats-1.example.com:4222'] }),
    subject: z
      .string()
      .regex(/^[^\s.*>]+(\.[^\s.*>]+)*$/)
      .default('changetrail.{source}.{kind}')
      .meta({
        description:
          'Subject of a record: `{source}`, `{kind}`, `{action}` and `{object}` (`schema.table`, two tokens) are filled in. A stream must hold it.',
        example: 'audit.{source}.{kind}.{object}',
      }),
    stream: z.string().min(1).optional().meta({
      description: 'Name of the stream that must take the records: any other one that holds the subject is refused.',
      example: 'AUDIT',
    }),
    user: z.string().min(1).optional().meta({ description: 'User, with `password`.', example: 'changetrail' }),
    password: z.string().optional().meta({ description: 'Password.', example: '${NATS_PASSWORD}' }),
    token: z.string().min(1).optional().meta({ description: 'Token.', example: '${NATS_TOKEN}' }),
    nkey_seed: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Seed of an NKey.', example: '${file:/run/secrets/nats.nk}' }),
    credentials: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Content of a `.creds` file (JWT and seed).', example: '${file:/run/secrets/nats.creds}' }),
    tls: tlsOption.optional().meta({
      description: 'TLS. When given, a server without it is refused.',
      example: { ca: '/etc/ssl/audit-ca.pem' },
    }),
    timeout_ms: z.number().int().positive().default(10_000).meta({
      description: 'Longest wait for a connection and for an acknowledgement, in milliseconds.',
      example: 5000,
    }),
    max_message_bytes: z
      .number()
      .int()
      .positive()
      .default(1 << 20)
      .meta({
        description: 'Largest message with its headers; the server’s `max_payload`, if that is smaller, holds.',
        example: 8_388_608,
      }),
    format: formatOption,
    ...deliveryShape,
  })
  .meta({
    description:
      'NATS JetStream. Each record is acknowledged by the stream; `Nats-Msg-Id` is the record’s id, so a stream drops what it already has within its `duplicate_window`.',
  });

export type NatsOptions = z.infer<typeof natsOptions>;
