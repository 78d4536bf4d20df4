import { z } from 'zod';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { httpShape, httpUrl } from '../shared/http-options.ts';

/** Options of the `otlp` sink. */
export const otlpOptions = z
  .strictObject({
    type: z.literal('otlp'),
    url: httpUrl.meta({
      description:
        'Base URL of the receiver; `/v1/logs` is added when the URL has no path, as with `OTEL_EXPORTER_OTLP_ENDPOINT`.',
      example: 'https://otel.example.com:4318',
    }),
    encoding: z
      .enum(['protobuf', 'json'])
      .default('protobuf')
      .meta({ description: 'Encoding of requests.', example: 'json' }),
    token: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Sent as `Authorization: Bearer …`.', example: '${OTLP_TOKEN}' }),
    resource: z
      .record(z.string(), z.string())
      .optional()
      .meta({
        description: 'Further resource attributes; `service.name` is `changetrail` unless given.',
        example: { 'deployment.environment.name': 'production' },
      }),
    format: formatOption.meta({
      description: 'Shape of the record in the log’s body, which is JSON text. The attributes are the same for all.',
      example: 'ecs',
    }),
    ...deliveryShape,
    ...httpShape,
    max_body_bytes: z
      .number()
      .int()
      .positive()
      .default(4 << 20)
      .meta({
        description: 'Most bytes of records a request; also the largest record. The Collector takes 20 MiB.',
        example: 1_048_576,
      }),
  })
  .meta({ description: 'OpenTelemetry logs over HTTP: the Collector and every backend that takes OTLP.' });

export type OtlpOptions = z.infer<typeof otlpOptions>;
