import { z } from 'zod';

/** Name of the view on the oplog that `setup` proposes. */
export const DEFAULT_OPLOG_VIEW = 'changetrail_oplog';
export const DEFAULT_CONTEXT_COLLECTION = '_changetrail_context';

/** Options of a source of type `mongodb`; the reference page and the JSON Schema are generated from this. */
export const mongodbOptions = z
  .strictObject({
    type: z.literal('mongodb'),
    url: z.string().min(1).meta({
      description:
        'Connection string of a replica set or of mongos (MongoDB 6.0 or later); TLS and authSource by its parameters.',
      example: '${DOCS_MONGO_URL}',
    }),
    collections: z
      .array(z.string().regex(/^!?[^.$\0]+(\.[^$\0]+)?$/, 'a pattern is database.collection'))
      .min(1)
      .default(['*'])
      .meta({
        description:
          'Patterns `database.collection` with `*` and `?`; a database alone means all of it; a leading `!` excludes. The last pattern that fits decides.',
        example: ['shop.*', '!shop.sessions'],
      }),
    scope: z.enum(['cluster', 'database']).default('cluster').meta({
      description: 'database: one change stream on one database, for a user without rights on all of them.',
      example: 'cluster',
    }),
    database: z.string().min(1).optional().meta({
      description: 'With `scope: database`: the database. Default: the one that all of `collections` name.',
      example: 'shop',
    }),
    setup: z.enum(['auto', 'manual']).default('manual').meta({
      description:
        'auto: `run` turns pre- and post-images on and creates the oplog view, as far as the user may. manual: the commands are printed.',
      example: 'manual',
    }),
    oplog_view: z
      .union([z.string().min(1), z.literal(false)])
      .default(DEFAULT_OPLOG_VIEW)
      .meta({
        description: 'View in `local` that names the user of each retryable write; false: not asked.',
        example: DEFAULT_OPLOG_VIEW,
      }),
    context_collection: z.string().min(1).default(DEFAULT_CONTEXT_COLLECTION).meta({
      description:
        'Collection, in any captured database, whose first insert in a transaction names the application’s actor.',
      example: DEFAULT_CONTEXT_COLLECTION,
    }),
    users: z
      .array(z.string().regex(/^.+@.+$/s, 'a user is name@database'))
      .default([])
      .meta({
        description:
          'Further users as `name@database` that the server does not list: X.509, LDAP and Kerberos users of `$external`.',
        example: ['CN=app,O=shop@$external'],
      }),
    users_interval: z.int().min(5).max(86_400).default(60).meta({
      description: 'Seconds between looks at the server’s users, which give the hashes in the oplog their names.',
      example: 60,
    }),
    on_history_lost: z
      .union([z.literal('now'), z.iso.datetime()])
      .default('now')
      .meta({
        description:
          'Where capture goes on, after a gap record, when the oplog no longer reaches back to where it stood: `now` or a time.',
        example: 'now',
      }),
    batch_size: z.int().min(1).max(10_000).default(5_000).meta({
      description: 'Most events asked for at once.',
      example: 5_000,
    }),
  })
  .meta({ title: 'MongoDB source' });

export type MongodbOptions = z.infer<typeof mongodbOptions>;
