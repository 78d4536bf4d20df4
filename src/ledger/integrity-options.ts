import { z } from 'zod';
import { anchorOptions } from '../anchors/options.ts';
import { duration } from '../config/units.ts';
import { keySource } from '../keys/key-options.ts';

const time = z.iso
  .datetime({ offset: true })
  .or(z.iso.date())
  .transform((text) => Date.parse(text));

const hold = z.strictObject({
  matter: z.string().min(1).meta({ description: 'What it is for.', example: 'case 2026-17' }),
  from: time.optional().meta({ description: 'Records captured from this time on; default: all before.' }),
  to: time.optional().meta({ description: 'Until this time; default: all after.' }),
});

/** What makes the ledger tamper-evident, and how long it is kept. */
export const integrityOptions = z
  .strictObject({
    origin: z
      .string()
      .regex(/^[^\s+]+$/u, 'no white space and no plus sign')
      .optional()
      .meta({
        description: 'Name that the ledger is signed under; given to a new ledger only. Default: made up.',
        example: 'audit.example.com/shop',
      }),
    keys: z.array(keySource).default([]).meta({
      description: 'Signing keys; several all sign. Default: a key that the first run creates in the data directory.',
    }),
    head_interval: duration.prefault('60s').meta({
      description:
        'Longest time until a signed head goes to the sinks and anchors. What was written since can be cut off unseen by whoever has the key.',
      example: '10s',
    }),
    anchors: z.array(anchorOptions).default([]).meta({ description: 'Where heads are kept besides the sinks.' }),
    retention: duration.optional().meta({
      description:
        'Closed segments with nothing younger than this are removed, and a record says so. Default: kept for ever.',
      example: '400d',
    }),
    holds: z.array(hold).default([]).meta({ description: 'What retention must leave, and all after it.' }),
    compress: z.enum(['zstd', 'none']).default('none').meta({ description: 'Compression of closed segments.' }),
  })
  .meta({ description: 'Signatures, anchors and retention of the ledger.' });

export type IntegrityOptions = z.infer<typeof integrityOptions>;
