import { findErrorBy } from '@platformatic/kafka';
import type { Delivery } from '../../core/sink.ts';
import { messageOf, systemCode } from '../../errors/audit-error.ts';

const TOO_LARGE = ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'];
/** The broker's validation of the records themselves. */
const REFUSED = ['INVALID_RECORD', 'INVALID_TIMESTAMP', 'CORRUPT_MESSAGE'];

/** Errors that an operator mends, in words. @see https://kafka.apache.org/protocol#protocol_error_codes */
const HINTS: Readonly<Record<string, string>> = {
  UNKNOWN_TOPIC_OR_PARTITION: 'the topic does not exist',
  TOPIC_AUTHORIZATION_FAILED: 'the user may not write to the topic',
  CLUSTER_AUTHORIZATION_FAILED: 'the user may not write idempotently (IDEMPOTENT_WRITE on the cluster)',
  SASL_AUTHENTICATION_FAILED: 'the credentials are refused',
  UNSUPPORTED_SASL_MECHANISM: 'the broker does not know the SASL mechanism',
  NOT_ENOUGH_REPLICAS: 'too few replicas are in sync',
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 'too few replicas are in sync',
};

/** What the failure of a send means. An error of one partition is the whole batch's: it is sent again. */
export function classifyKafkaError(error: unknown): Delivery {
  const found = error instanceof Error ? error : new AggregateError([], String(error));
  const has = (id: string) => findErrorBy(found, 'apiId', id) !== null;
  if (TOO_LARGE.some(has)) return { outcome: 'too_large' };
  const refused = REFUSED.find(has);
  if (refused !== undefined) return { outcome: 'rejected', reason: refused };
  const hint = Object.keys(HINTS).find(has);
  if (hint !== undefined) return { outcome: 'unavailable', reason: HINTS[hint]! };
  if (findErrorBy(found, 'code', 'PLT_KFK_AUTHENTICATION') !== null) {
    return { outcome: 'unavailable', reason: 'the credentials are refused' };
  }
  if (/^Unknown topic\b/.test(found.message))
    return { outcome: 'unavailable', reason: HINTS['UNKNOWN_TOPIC_OR_PARTITION']! };
  return { outcome: 'unavailable', reason: deepest(found) };
}

/** The client wraps what happened several times over; what is inside says more. */
function deepest(error: unknown, depth = 0): string {
  const { cause, errors, apiId } = error as { cause?: unknown; errors?: unknown[]; apiId?: string };
  const inner = cause ?? errors?.[0];
  if (inner !== undefined && inner !== null && depth < 8) return deepest(inner, depth + 1);
  const code = systemCode(error);
  // The client's own codes say less than its messages.
  return apiId ?? (code === undefined || code.startsWith('PLT_KFK_') ? messageOf(error) : code);
}
