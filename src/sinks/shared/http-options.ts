import { z } from 'zod';
import { tlsOption } from './tls.ts';

/** Options of every sink that speaks HTTP. */
export const httpShape = {
  timeout_ms: z.number().int().positive().default(30_000).meta({
    description: 'A request without a complete answer after this time is tried again, in milliseconds.',
    example: 10_000,
  }),
  compression: z
    .enum(['gzip', 'none'])
    .default('gzip')
    .meta({ description: 'Compression of requests.', example: 'none' }),
  headers: z
    .record(z.string(), z.string())
    .optional()
    .meta({ description: 'Further request headers.', example: { 'x-tenant': 'audit' } }),
  tls: tlsOption.optional().meta({
    description: 'TLS of `https` URLs. Certificates are verified unless told otherwise.',
    example: { ca: '/etc/ssl/audit-ca.pem' },
  }),
} as const;

const httpOptions = z.object(httpShape);

export type HttpOptions = z.infer<typeof httpOptions>;

/** An absolute http or https URL. */
export const httpUrl = z.url({ protocol: /^https?$/ });
