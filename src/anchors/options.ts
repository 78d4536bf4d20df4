import { z } from 'zod';
import { duration } from '../config/units.ts';

export const fileAnchorOptions = z.strictObject({
  type: z.literal('file'),
  path: z.string().min(1).meta({
    description: 'File that always holds the newest head; on another machine’s disk or another account, to be of use.',
    example: '/mnt/audit/shop.head',
  }),
});

export const witnessAnchorOptions = z.strictObject({
  type: z.literal('witness'),
  url: z.url({ protocol: /^https?$/ }).meta({
    description: 'Prefix of a C2SP tlog-witness: heads go to `<url>/add-checkpoint`.',
    example: 'https://witness.example.com',
  }),
  vkey: z.string().min(1).meta({ description: 'Public key of the witness’s cosignatures: name+hash+base64.' }),
});

export const s3AnchorOptions = z.strictObject({
  type: z.literal('s3'),
  bucket: z.string().min(1).meta({ description: 'Bucket with Object Lock.', example: 'audit-heads' }),
  prefix: z.string().default('').meta({ description: 'Put before the keys of the heads.', example: 'shop/' }),
  region: z.string().optional().meta({ description: 'Region of the bucket.', example: 'eu-central-1' }),
  endpoint: z.url().optional().meta({ description: 'For stores other than AWS.' }),
  access_key_id: z.string().optional().meta({ description: 'Default: the usual sources of the AWS SDK.' }),
  secret_access_key: z.string().optional().meta({ description: 'Default: the usual sources of the AWS SDK.' }),
  mode: z.enum(['COMPLIANCE', 'GOVERNANCE']).default('COMPLIANCE').meta({
    description: 'COMPLIANCE: nobody can remove a head before its time.',
  }),
  retain: duration.prefault('400d').meta({ description: 'How long a head is locked.', example: '2555d' }),
});

export const anchorOptions = z.discriminatedUnion('type', [fileAnchorOptions, witnessAnchorOptions, s3AnchorOptions]);

export type AnchorOptions = z.infer<typeof anchorOptions>;
export type FileAnchorOptions = z.infer<typeof fileAnchorOptions>;
export type WitnessAnchorOptions = z.infer<typeof witnessAnchorOptions>;
export type S3AnchorOptions = z.infer<typeof s3AnchorOptions>;
