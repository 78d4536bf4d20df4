import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AuditError, messageOf } from '../../errors/audit-error.ts';
import type { SinkHost } from './host.ts';

/** How a connection to a receiver is secured; the same keys in every sink. */
export const tlsOption = z.strictObject({
  ca: z.string().optional().meta({ description: 'File with the certificates (PEM) to trust instead of the system’s.' }),
  cert: z.string().optional().meta({ description: 'File with the client certificate (PEM), for mutual TLS.' }),
  key: z.string().optional().meta({ description: 'File with the client certificate’s key (PEM).' }),
  server_name: z
    .string()
    .optional()
    .meta({ description: 'Name the server’s certificate must have, if it is not the name it is called by.' }),
  verify: z
    .boolean()
    .default(true)
    .meta({ description: '`false` accepts any certificate: for trials only, and logged as a warning.' }),
});

export type TlsOption = z.infer<typeof tlsOption>;

/** TLS where nothing was said of it. Explicit, because Node else asks NODE_TLS_REJECT_UNAUTHORIZED. */
export const VERIFIED: TlsOption = { verify: true };

/** The part of `tls.ConnectionOptions` that the option decides. */
export interface TlsConnection {
  readonly rejectUnauthorized: boolean;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly servername?: string;
}

/** Reads the files that the option names. @throws AUD_SINK_OPTIONS when one cannot be read. */
export function tlsConnection(tls: TlsOption, host: SinkHost): TlsConnection {
  if (!tls.verify) {
    host.log.warn(
      {
        event: 'sink_tls_unverified',
        action: 'Set tls.ca to the receiver’s certificate authority and remove tls.verify.',
      },
      'The receiver’s certificate is not verified: anybody on the way can read and change the records.',
    );
  }
  return {
    rejectUnauthorized: tls.verify,
    ...(tls.ca === undefined ? {} : { ca: readPem(tls.ca, 'tls.ca') }),
    ...(tls.cert === undefined ? {} : { cert: readPem(tls.cert, 'tls.cert') }),
    ...(tls.key === undefined ? {} : { key: readPem(tls.key, 'tls.key') }),
    ...(tls.server_name === undefined ? {} : { servername: tls.server_name }),
  };
}

function readPem(path: string, option: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new AuditError('AUD_SINK_OPTIONS', {
      message: `The file of ${option} cannot be read: ${messageOf(cause)}.`,
      action: `Correct ${option}.`,
    });
  }
}
