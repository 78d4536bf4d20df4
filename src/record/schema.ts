import { z } from 'zod';

/**
 * The record, version 1: the one source of `schema/record.v1.json`, of the types and of the tests' validation. Field order
 * here is the order on the line.
 */
const json: z.ZodType<unknown> = z.unknown();

const time = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(\d{3})?Z$/)
  .meta({ description: 'ISO 8601 in UTC, milliseconds or microseconds.' });

export const KINDS = [
  'change',
  'baseline',
  'schema',
  'capture',
  'gap',
  'head',
  'access',
  'alert',
  'event',
  'policy',
  'attribution',
] as const;
export const OUTCOMES = ['success', 'failure', 'denied', 'unknown'] as const;
export const ASSURANCES = ['verified', 'claimed', 'inferred', 'none'] as const;

export const sourceSchema = z
  .looseObject({
    name: z.string().meta({
      description: 'The source’s name in the configuration; `changetrail` for records about the ledger itself.',
    }),
    engine: z.enum(['postgres', 'mongodb', 'changetrail']),
    database: z.string().optional(),
    lsn: z.string().optional().meta({ description: 'PostgreSQL: LSN of the transaction’s commit.' }),
    ts: z.string().optional().meta({ description: 'MongoDB: cluster time, `seconds.increment`.' }),
    tx: z.string().optional().meta({ description: 'Transaction: PostgreSQL’s xid, MongoDB’s lsid and txnNumber.' }),
    seq: z
      .number()
      .int()
      .nonnegative()
      .optional()
      .meta({ description: 'Ordinal in the position, counted before any filter. Only records of the stream have it.' }),
  })
  .meta({ description: 'Where the record comes from.' });

export const actorSchema = z
  .looseObject({
    id: z.string().optional(),
    type: z.string().optional().meta({ description: 'user, service, job, support, …' }),
    name: z.string().optional(),
    session: z.string().optional(),
    client: z.string().optional(),
    app: z.string().optional(),
    on_behalf_of: json.optional(),
    assurance: z
      .enum(ASSURANCES)
      .meta({ description: 'How sure: signed or the server’s word, said by the application, matched, nobody.' }),
    via: z.string().optional().meta({ description: 'The rung of the ladder the actor comes from.' }),
    reason: z.string().optional().meta({ description: 'Why there is no actor, or why a claim was not verified.' }),
    claim: z.string().optional().meta({
      description:
        'Which signed claim vouches: the start of SHA-256 over its key id, a line feed and its nonce, base64url.',
    }),
    db_user: z.string().optional(),
  })
  .meta({ description: 'Who did it.' });

const redaction = z.looseObject({ column: z.string(), action: z.string(), rule: z.string().optional() });

export const recordSchema = z
  .strictObject({
    v: z.literal(1),
    index: z.number().int().nonnegative().meta({ description: 'Place in the ledger, gap-free.' }),
    id: z.string().min(1).meta({ description: 'Idempotency key: the same change has the same id for ever.' }),
    kind: z.enum(KINDS),
    time: time.meta({ description: 'When it happened: the commit, by the source’s clock.' }),
    captured: time.meta({ description: 'When it was captured, by this machine’s clock.' }),
    source: sourceSchema,
    action: z
      .string()
      .min(1)
      .meta({ description: 'insert, update, delete, truncate, read, create, alter, drop, rename, …' }),
    object: z
      .looseObject({
        schema: z.string().optional(),
        table: z.string().optional(),
        database: z.string().optional(),
        collection: z.string().optional(),
        key: json.optional(),
        old_key: json.optional(),
      })
      .meta({ description: 'What it was done to.' }),
    actor: actorSchema.optional(),
    context: z
      .record(z.string(), json)
      .optional()
      .meta({ description: 'What the application said besides the actor.' }),
    outcome: z.enum(OUTCOMES),
    changed: z
      .array(z.string())
      .optional()
      .meta({ description: 'Columns, or dotted paths, that differ between before and after.' }),
    missing: z.record(z.string(), z.string()).optional().meta({ description: 'What is not in the record, and why.' }),
    redacted: z.array(redaction).optional(),
    details: z
      .record(z.string(), json)
      .optional()
      .meta({ description: 'Facts of gap, capture, head and other records about the trail.' }),
    before: json.optional(),
    after: json.optional(),
  })
  .meta({ id: 'https://changetrail.dev/schema/record.v1.json', title: 'Changetrail record, version 1' });

export type AuditRecord = z.infer<typeof recordSchema>;

/** The published JSON Schema (draft 2020-12) of a record. */
export function recordJsonSchema(): object {
  return z.toJSONSchema(recordSchema, { target: 'draft-2020-12' });
}
