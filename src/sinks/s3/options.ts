import { z } from 'zod';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { tlsOption } from '../shared/tls.ts';

const mib = 1 << 20;

/** Options of the `s3` sink. */
export const s3Options = z
  .strictObject({
    type: z.literal('s3'),
    bucket: z.string().min(3).max(63).meta({ description: 'Bucket. It must exist.', example: 'acme-audit' }),
    prefix: z
      .string()
      .regex(/^([^/]+\/)*$/)
      .default('')
      .meta({ description: 'In front of all keys; ends with `/`.', example: 'changetrail/' }),
    region: z.string().min(1).default('us-east-1').meta({ description: 'Region.', example: 'eu-central-1' }),
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .meta({
        description: 'URL of an S3-compatible service instead of AWS.',
        example: 'https://objects.example.com',
      }),
    path_style: z
      .boolean()
      .default(false)
      .meta({ description: '`https://host/bucket` instead of `https://bucket.host`.', example: true }),
    access_key_id: z.string().min(1).optional().meta({
      description: 'Access key. Without it, the AWS chain: environment, web identity, instance role, ….',
      example: '${AWS_ACCESS_KEY_ID}',
    }),
    secret_access_key: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Secret of the access key.', example: '${AWS_SECRET_ACCESS_KEY}' }),
    session_token: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Session token of temporary keys.', example: '${AWS_SESSION_TOKEN}' }),
    object_lock: z
      .strictObject({
        mode: z
          .enum(['GOVERNANCE', 'COMPLIANCE'])
          .meta({ description: 'COMPLIANCE: nobody, not even the account’s owner, can delete or shorten.' }),
        retention_days: z.number().int().positive().meta({ description: 'How long from the upload, in days.' }),
      })
      .optional()
      .meta({
        description: 'Object Lock of every object and manifest (WORM). The bucket must have been created with it.',
        example: { mode: 'COMPLIANCE', retention_days: 400 },
      }),
    storage_class: z.string().min(1).optional().meta({ description: 'Storage class.', example: 'STANDARD_IA' }),
    encryption: z
      .enum(['AES256', 'aws:kms'])
      .optional()
      .meta({ description: 'Server-side encryption, if not the bucket’s default.', example: 'aws:kms' }),
    kms_key_id: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Key of `aws:kms`.', example: 'arn:aws:kms:eu-central-1:111122223333:key/audit' }),
    tls: tlsOption.optional().meta({ description: 'TLS of the endpoint.', example: { ca: '/etc/ssl/audit-ca.pem' } }),
    timeout_ms: z.number().int().positive().default(60_000).meta({
      description: 'An upload without an answer after this time is tried again, in milliseconds.',
      example: 30_000,
    }),
    format: formatOption,
    ...deliveryShape,
    batch_bytes: z
      .number()
      .int()
      .positive()
      .max(256 * mib)
      .default(16 * mib)
      .meta({ description: 'Most bytes of records a round of objects, before compression.', example: 67_108_864 }),
    batch_wait_ms: z
      .number()
      .int()
      .nonnegative()
      .default(60_000)
      .meta({ description: 'How long a record may wait for larger objects, in milliseconds.', example: 300_000 }),
  })
  .refine((options) => (options.access_key_id === undefined) === (options.secret_access_key === undefined), {
    message: 'access_key_id and secret_access_key belong together',
  })
  .meta({
    description:
      'Amazon S3 and compatible object stores. Gzipped NDJSON by source and hour, `SOURCE/dt=2026-11-24/hour=10/…ndjson.gz`, and for each round a manifest with the range of records and the digests of its objects.',
  });

export type S3Options = z.infer<typeof s3Options>;
