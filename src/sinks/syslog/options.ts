import { z } from 'zod';
import { deliveryShape } from '../../pipeline/delivery/options.ts';
import { formatOption } from '../../record/mappings/index.ts';
import { tlsOption } from '../shared/tls.ts';

/** RFC 5424, table 1. */
export const FACILITIES = [
  ...['kern', 'user', 'mail', 'daemon', 'auth', 'syslog', 'lpr', 'news', 'uucp', 'cron', 'authpriv', 'ftp'],
  ...['ntp', 'audit', 'alert', 'clock', 'local0', 'local1', 'local2', 'local3', 'local4', 'local5', 'local6', 'local7'],
] as const;

/** Options of the `syslog` sink. */
export const syslogOptions = z
  .strictObject({
    type: z.literal('syslog'),
    host: z.string().min(1).meta({ description: 'Receiver’s host.', example: 'syslog.example.com' }),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .meta({ description: 'Port. Default 514 for tcp, 6514 for tls, 2514 for relp.', example: 6514 }),
    transport: z.enum(['tcp', 'tls', 'relp', 'relp_tls']).default('tls').meta({
      description:
        '`tcp` and `tls`: RFC 5424 with octet counting (RFC 6587, RFC 5425). `relp`, `relp_tls`: RELP, which acknowledges every message.',
      example: 'relp_tls',
    }),
    confirm: z.enum(['close', 'none']).default('close').meta({
      description:
        'Syslog has no acknowledgement. `close` ends the connection after each batch and waits until the receiver ends its side, which it does when it has read all: what is cut off on the way is sent again. `none` keeps the connection and trusts the network: a broken connection loses what was on the way. RELP needs neither.',
      example: 'none',
    }),
    tls: tlsOption.optional().meta({
      description: 'TLS of `tls` and `relp_tls`.',
      example: { ca: '/etc/ssl/syslog-ca.pem', cert: '/etc/ssl/client.pem', key: '/etc/ssl/client.key' },
    }),
    facility: z.enum(FACILITIES).default('audit').meta({ description: 'Facility.', example: 'local4' }),
    hostname: z
      .string()
      .regex(/^[\x21-\x7e]{1,255}$/)
      .optional()
      .meta({ description: 'HOSTNAME of the messages; default: this machine’s.', example: 'audit-1' }),
    app_name: z
      .string()
      .regex(/^[\x21-\x7e]{1,48}$/)
      .default('changetrail')
      .meta({ description: 'APP-NAME of the messages.', example: 'changetrail-shop' }),
    enterprise_id: z
      .string()
      .regex(/^[0-9]+(\.[0-9]+)*$/)
      .default('32473')
      .meta({
        description:
          'Private enterprise number in the name of the structured data, `changetrail@…`. 32473 is the one kept for examples (RFC 5612): use your own if you have one.',
        example: '32473',
      }),
    max_message_bytes: z.number().int().min(2048).default(8192).meta({
      description:
        'Largest message with its header. Many receivers cut at 8 KiB unless told otherwise (rsyslog: `maxMessageSize`); never set it above the receiver’s.',
      example: 65_536,
    }),
    timeout_ms: z
      .number()
      .int()
      .positive()
      .default(30_000)
      .meta({ description: 'Longest wait for a connection or a confirmation, in milliseconds.', example: 10_000 }),
    format: formatOption.meta({
      description: 'Shape of the record in the message, which is JSON text.',
      example: 'ecs',
    }),
    ...deliveryShape,
  })
  .meta({
    description:
      'Any syslog receiver: RFC 5424 over TCP or TLS, or RELP. The record’s id, index, kind, source, action, object, actor and outcome are in the structured data; the message is the record as JSON.',
  });

export type SyslogOptions = z.infer<typeof syslogOptions>;
