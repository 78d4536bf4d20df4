import { z } from 'zod';

/**
 * The `actors:` part of the configuration: what is known about those who write. Everything has a default; without any rule
 * each rung of the ladder works as docs/guides/actors.md says.
 */
const pattern = z.string().min(1).max(256);

const idRule = z.strictObject({
  match: pattern.meta({ description: 'Pattern of actor ids, `*` for any text.', example: 'svc-*' }),
  type: z.string().min(1).optional().meta({ description: 'The type where the actor gives none.', example: 'service' }),
  name: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'The display name where the actor gives none.', example: 'Billing' }),
});

const roleRule = z.strictObject({
  match: pattern.meta({ description: 'Pattern of database roles or users, `*` for any text.', example: 'app_*' }),
  is: z.enum(['application', 'person', 'job']).meta({
    description: 'What logs in with it: an application many people use, one person (direct SQL), or a job.',
    example: 'application',
  }),
  name: z.string().min(1).optional().meta({ description: 'The display name.', example: 'Shop API' }),
});

const columnRule = z.strictObject({
  tables: z
    .array(pattern)
    .min(1)
    .meta({
      description:
        'Tables as `schema.table` (collections as `database.collection`) with `*` and `?`; a leading `!` excludes. The last pattern that fits decides.',
      example: ['public.*', '!public.sessions'],
    }),
  column: z.string().min(1).meta({ description: 'The column or field that names the writer.', example: 'updated_by' }),
  type: z.string().min(1).optional().meta({ description: 'Type of these actors.', example: 'user' }),
});

const settingRule = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)+$/)
    .max(63)
    .meta({
      description: 'A setting of the PostgreSQL session that the application makes; such names have a dot.',
      example: 'request.jwt.claims',
    }),
  path: z.string().min(1).max(256).optional().meta({
    description: 'Where the value is JSON: the keys to the wanted part, with dots between.',
    example: 'sub',
  }),
  as: z
    .string()
    .regex(/^(id|type|name|session|client|app|context\.[A-Za-z0-9_.-]{1,64})$/)
    .default('id')
    .meta({ description: 'What it says: a field of the actor, or `context.<key>`.', example: 'id' }),
});

const claimKey = z.strictObject({
  id: z.string().min(1).max(256).meta({ description: 'The key id (`kid`) that claims name.', example: 'shop-2026' }),
  algorithm: z.enum(['EdDSA', 'HS256']).meta({ description: 'Ed25519 or HMAC-SHA-256.', example: 'EdDSA' }),
  key: z.string().min(1).meta({
    description:
      'Ed25519: the public key as PEM (SPKI) or its 32 bytes in base64. HMAC: the secret the signer has, at least 32 bytes; `base64:…` where it is not text.',
    example: 'MCowBQYDK2VwAyEA…',
  }),
  from: z.iso.datetime({ offset: true }).optional().meta({
    description: 'Claims issued earlier are not accepted with this key.',
    example: '2026-01-01T00:00:00Z',
  }),
  until: z.iso.datetime({ offset: true }).optional().meta({
    description: 'Claims issued later are not accepted with this key. Set it when the key is replaced or lost.',
    example: '2027-01-01T00:00:00Z',
  }),
});

const claims = z.strictObject({
  keys: z.array(claimKey).default([]).meta({
    description:
      'Keys that may sign claims. Rotate by adding the new one before it is used; `until` retires the old one.',
    example: [],
  }),
  skew: z.number().int().min(0).max(600).default(30).meta({
    description: 'Seconds by which the clocks of application and database may differ.',
    example: 30,
  }),
  max_life: z.number().int().min(1).max(86_400).default(900).meta({
    description: 'Longest life of a claim in seconds; one that lives longer is not accepted.',
    example: 900,
  }),
  remember: z.number().int().min(100).max(5_000_000).default(200_000).meta({
    description: 'Claims remembered to find a second use. When more are alive, further ones are not called verified.',
    example: 200_000,
  }),
});

const dialects = z.strictObject({
  bemi: z
    .array(z.string().min(1))
    .default(['user_id', 'userId', 'user.id', 'actor_id', 'actorId', 'username', 'email'])
    .meta({
      description: 'Where a `_bemi` message names the actor: the first of these keys that is there.',
      example: ['userId'],
    }),
  sequin: z
    .array(z.string().min(1))
    .default(['user_id', 'userId', 'user.id', 'actor_id', 'actorId', 'username', 'email'])
    .meta({
      description: 'Where a Sequin annotation names the actor: the first of these keys that is there.',
      example: ['user_id'],
    }),
});

export const actorOptions = z
  .strictObject({
    ids: z
      .array(idRule)
      .default([])
      .meta({
        description: 'Types and display names by actor id; the first that matches counts.',
        example: [{ match: 'svc-*', type: 'service' }],
      }),
    roles: z
      .array(roleRule)
      .default([])
      .meta({
        description: 'What the database roles stand for; tells a person with direct SQL from the application.',
        example: [{ match: 'app', is: 'application' }],
      }),
    columns: z
      .array(columnRule)
      .default([])
      .meta({
        description: 'Columns that name the writer; such an actor is `inferred`.',
        example: [{ tables: ['public.*'], column: 'updated_by' }],
      }),
    settings: z
      .array(settingRule)
      .default([])
      .meta({
        description: 'Session settings that name the actor, for `setup --session-context`.',
        example: [{ name: 'request.jwt.claims', path: 'sub' }],
      }),
    claims: claims.prefault({}).meta({ description: 'Signed claims.', example: {} }),
    dialects: dialects
      .prefault({})
      .meta({ description: 'Messages of other tools that are read as they are.', example: {} }),
  })
  .meta({ description: 'Who writes: types, names, roles, columns, settings and the keys of signed claims.' });

export type ActorOptions = z.infer<typeof actorOptions>;

/** Names of the session settings that rules read, each once. */
export function settingNames(options: ActorOptions): string[] {
  return [...new Set(options.settings.map(({ name }) => name))];
}

export type ClaimKeyOptions = ActorOptions['claims']['keys'][number];
export type RoleKind = ActorOptions['roles'][number]['is'];
