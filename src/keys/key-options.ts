import { z } from 'zod';

/** Where a signing key comes from. */
export const keySource = z.union([
  z.strictObject({
    file: z.string().min(1).meta({ description: 'File with the key: PKCS#8 PEM, or PRIVATE+KEY+name+hash+base64.' }),
  }),
  z.strictObject({
    env: z.string().min(1).meta({ description: 'Environment variable with the key, in one of the forms of a file.' }),
  }),
  z.strictObject({
    command: z
      .array(z.string())
      .min(1)
      .meta({
        description:
          'Program and arguments that sign: text on standard input, base64 of the 64-byte Ed25519 signature on standard output.',
        example: ['/usr/local/bin/sign-with-kms', 'alias/changetrail'],
      }),
    vkey: z.string().min(1).meta({ description: 'Public key of the command’s signatures: name+hash+base64.' }),
  }),
]);

export type KeySource = z.infer<typeof keySource>;
