import { z } from 'zod';
import { actorOptions } from '../actor/options.ts';
import { integrityOptions } from '../ledger/integrity-options.ts';
import { duration, size } from './units.ts';

export { duration, parseDuration, size } from './units.ts';

export const ledgerOptions = z
  .strictObject({
    segment_size: size.prefault('64MiB').meta({ description: 'A segment is closed at this size.', example: '64MiB' }),
    group_ms: z.number().min(0).max(1000).default(2).meta({
      description: 'Longest wait of a record for others to be synced with, in milliseconds.',
      example: 2,
    }),
    ...integrityOptions.shape,
  })
  .meta({ description: 'How the ledger is written, signed, anchored and kept.' });

export const logOptions = z
  .strictObject({
    level: z
      .enum(['debug', 'info', 'warn', 'error'])
      .default('info')
      .meta({ description: 'Least level that is logged.' }),
    format: z.enum(['text', 'json']).optional().meta({ description: 'Default: text on a terminal, json otherwise.' }),
  })
  .meta({ description: 'Logging, always to standard error.' });

export const captureOptions = z
  .strictObject({
    progress_interval: duration
      .default(60_000)
      .meta({ description: 'Time between `capture` progress records of a source.', example: '60s' }),
  })
  .meta({ description: 'Records about the capture itself.' });

export const metricsOptions = z
  .strictObject({
    listen: z
      .string()
      .regex(/^[^\s]+:\d+$/, 'give host:port, for example 127.0.0.1:9464')
      .meta({
        description: 'Host and port of the pages /metrics (Prometheus) and /health.',
        example: '127.0.0.1:9464',
      }),
  })
  .meta({ description: 'Figures of the running process. Absent: no port is opened.' });

/** The top of the configuration; sources and sinks are checked by the type they name. */
export const rootOptions = z.strictObject({
  data: z
    .string()
    .min(1)
    .default('./changetrail-data')
    .meta({ description: 'Directory of the ledger, positions and cursors.', example: './changetrail-data' }),
  sources: z
    .record(z.string(), z.looseObject({ type: z.string() }))
    .refine((sources) => Object.keys(sources).length > 0, 'name at least one source')
    .meta({
      description: 'Databases to capture, by name. The name is part of every record’s id: do not change it later.',
    }),
  sinks: z
    .record(z.string(), z.looseObject({ type: z.string() }))
    .default({})
    .meta({ description: 'Where records are sent, by name. The ledger is written without any.' }),
  actors: actorOptions.prefault({}).meta({ description: 'Who writes.' }),
  ledger: ledgerOptions.prefault({}).meta({ description: 'How the ledger is written, signed, anchored and kept.' }),
  capture: captureOptions.prefault({}).meta({ description: 'Records about the capture itself.' }),
  metrics: metricsOptions
    .optional()
    .meta({ description: 'Figures of the running process. Absent: no port is opened.' }),
  log: logOptions.prefault({}).meta({ description: 'Logging.' }),
});

export type RootOptions = z.infer<typeof rootOptions>;
export type LogConfiguration = z.infer<typeof logOptions>;
