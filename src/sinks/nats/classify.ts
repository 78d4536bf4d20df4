import { JetStreamApiError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';
import type { Delivery, FailedRecord } from '../../core/sink.ts';
import { messageOf, systemCode } from '../../errors/audit-error.ts';

/** What the failure of one message means. `lost`: the connection is of no use any more. */
export interface NatsFailure {
  readonly what: 'retry' | 'too_large' | 'refused';
  readonly reason: string;
  readonly lost: boolean;
}

/** JetStream's own codes. @see https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const MESSAGE_TOO_LARGE = 10054;
const BAD_HEADER = 10136;

/** Classifies an error of a publish or of connecting. */
export function classifyNatsError(error: unknown): NatsFailure {
  if (error instanceof JetStreamApiError) {
    const reason = `jetstream_${error.code}`;
    if (error.code === MESSAGE_TOO_LARGE) return { what: 'too_large', reason, lost: false };
    // Limits, a sealed stream, another stream than expected, no quorum: an operator or time mends them.
    return { what: error.code === BAD_HEADER ? 'refused' : 'retry', reason, lost: false };
  }
  if (noResponders(error)) return retry('no stream holds the subject', false);
  if (error instanceof errors.InvalidArgumentError && /max_payload/.test(error.message)) {
    return { what: 'too_large', reason: 'max_payload', lost: false };
  }
  if (error instanceof errors.PermissionViolationError) return retry('the user may not publish to the subject', false);
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return retry('the credentials are refused', true);
  }
  if (error instanceof errors.TimeoutError) return retry('no answer in time', true);
  return retry(systemCode(error) ?? systemCode((error as Error | null)?.cause) ?? messageOf(error), true);
}

/** Nobody listens on the subject: there is no stream, or no JetStream, behind it. */
function noResponders(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null;
  return cause instanceof errors.RequestError && cause.isNoResponders();
}

function retry(reason: string, lost: boolean): NatsFailure {
  return { what: 'retry', reason, lost };
}

/** The answer to a batch of `count` messages, of which those in `failures` were not acknowledged. */
export function natsDelivery(count: number, failures: ReadonlyMap<number, NatsFailure>): Delivery {
  if (failures.size === 0) return { outcome: 'accepted' };
  const all = [...failures.values()];
  // Halved and sent again: the stream drops, by id, what it has.
  if (all.some(({ what }) => what === 'too_large')) return { outcome: 'too_large' };
  const first = all[0]!;
  if (failures.size === count && all.every(({ what }) => what === 'retry')) {
    return { outcome: 'unavailable', reason: first.reason };
  }
  const failed: FailedRecord[] = [...failures].map(([at, { what, reason }]) => ({
    at,
    retry: what === 'retry',
    reason,
  }));
  return { outcome: 'partial', failed };
}
