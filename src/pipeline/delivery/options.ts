import { z } from 'zod';
import { KINDS } from '../../record/schema.ts';

const positive = z.number().int().positive();

/** Which records a sink gets. Every given condition must hold; absent conditions hold. */
export const filterOptions = z
  .strictObject({
    kinds: z
      // A kind that there is not would leave out everything, in silence.
      .array(z.enum(KINDS))
      .nonempty()
      .optional()
      .meta({ description: 'Kinds of record: change, gap, head, …', example: ['change', 'gap'] }),
    objects: z
      .array(z.string())
      .nonempty()
      .optional()
      .meta({
        description:
          'Names of tables or collections (`schema.table`), `*` for any text, `!` in front to leave out. Records without an object of that form (captures, gaps of the whole source, heads) pass.',
        example: ['public.*', '!public.sessions'],
      }),
    actions: z
      .array(z.string())
      .nonempty()
      .optional()
      .meta({ description: 'Actions.', example: ['update', 'delete'] }),
    actors: z
      .array(z.string())
      .nonempty()
      .optional()
      .meta({
        description: 'Actor ids, `*` for any text, `!` in front to leave out. A record without an actor has the id ``.',
        example: ['!batch-*'],
      }),
    when: z.string().optional().meta({
      description:
        'A CEL expression over `record`. It is compiled at the start; a record on which it fails is sent, and counted.',
      example: "record.outcome != 'success' || record.actor.type == 'support'",
    }),
  })
  .meta({ description: 'Which records are sent. Left out records are counted, never lost: they stay in the ledger.' });

/** Options every sink has; a sink's own options are added to them. */
export const deliveryShape = {
  filter: filterOptions.optional(),
  values: z.enum(['all', 'changed', 'none']).default('all').meta({
    description:
      'How much of `before` and `after` is sent: all, only the changed columns of an update, or nothing. What is left out is named in `missing`.',
    example: 'changed',
  }),
  oversized: z.enum(['digest', 'split']).default('digest').meta({
    description:
      'A record over the receiver’s limit: `digest` replaces its largest values by SHA-256 and size, `split` sends the whole record in numbered parts. Text is never cut.',
    example: 'split',
  }),
  start: z.enum(['beginning', 'now']).default('beginning').meta({
    description: 'Where a sink without a cursor starts: the first record kept, or the next one.',
    example: 'now',
  }),
  batch_records: positive
    .optional()
    .meta({ description: 'Most records a request; never above what the receiver takes.', example: 500 }),
  batch_bytes: positive
    .optional()
    .meta({ description: 'Most bytes of records a request; never above what the receiver takes.', example: 1_000_000 }),
  batch_wait_ms: z
    .number()
    .int()
    .nonnegative()
    .optional()
    .meta({ description: 'How long a record may wait for a fuller request, in milliseconds.', example: 1000 }),
  retry_max_ms: positive.default(60_000).meta({
    description: 'Longest wait between two tries at a receiver that is down, in milliseconds. It is tried for ever.',
    example: 30_000,
  }),
} as const;

const deliveryOptions = z.object(deliveryShape);

/** The part of a sink's options that delivery itself acts on. */
export type DeliveryOptions = z.infer<typeof deliveryOptions>;

/** The options as they are when none is given. */
export function defaultDeliveryOptions(): DeliveryOptions {
  return deliveryOptions.parse({});
}
