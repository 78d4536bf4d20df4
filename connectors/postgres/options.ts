import { z } from 'zod';

/** Options of a source of type `postgres`; the reference page and the JSON Schema are generated from this. */
export const postgresOptions = z
  .strictObject({
    type: z.literal('postgres'),
    url: z.string().min(1).meta({
      description: 'Connection URL; TLS by its sslmode. The user needs REPLICATION and SELECT on nothing.',
      example: '${SHOP_DATABASE_URL}',
    }),
    tables: z
      .array(z.string().min(1))
      .min(1)
      .default(['public.*'])
      .meta({
        description:
          'Patterns `schema.table` with `*` and `?`, names in double quotes as they are; a leading `!` excludes. The last pattern that fits decides.',
        example: ['public.*', '!public.sessions'],
      }),
    setup: z.enum(['auto', 'manual']).default('manual').meta({
      description:
        'Whether `run` may create the publication and the slot, and keep them fitting to `tables`; else it prints the SQL and exits.',
    }),
    publication: z
      .string()
      .min(1)
      .max(55)
      .optional()
      .meta({ description: 'Name of the publication. Default: changetrail_<source>.' }),
    slot: z
      .string()
      .regex(/^[a-z0-9_]{1,63}$/)
      .optional()
      .meta({ description: 'Name of the replication slot: a-z, 0-9 and _. Default: changetrail_<source>.' }),
    replica_identity: z.enum(['keep', 'full']).default('keep').meta({
      description:
        'full: with `setup: auto`, tables are altered to REPLICA IDENTITY FULL so that every record has its before. keep: they stay as they are.',
    }),
    partitions: z.enum(['leaf', 'root']).default('leaf').meta({
      description: 'Whether a partitioned table’s changes are recorded under the partition or under the table.',
    }),
    check_interval: z.int().min(1).max(10).default(5).meta({
      description:
        'Seconds between looks at tables, publication and slot. A new table is captured within this time. Whether a key was dropped is asked every second.',
    }),
  })
  .meta({ title: 'PostgreSQL source' });

export type PostgresOptions = z.infer<typeof postgresOptions>;

/** What the options come to for one source. */
export interface ResolvedPostgres extends PostgresOptions {
  readonly name: string;
  readonly publication: string;
  /** Carries the tables whose UPDATE and DELETE cannot be published without making them fail. */
  readonly insertPublication: string;
  readonly slot: string;
}

export function resolvePostgres(name: string, options: PostgresOptions): ResolvedPostgres {
  const safe = name
    .toLowerCase()
    .replace(/[^a-z0-9_]/g, '_')
    .slice(0, 40);
  const publication = options.publication ?? `changetrail_${safe}`;
  return {
    ...options,
    name,
    publication,
    insertPublication: `${publication}_insert`,
    slot: options.slot ?? `changetrail_${safe}`,
  };
}
