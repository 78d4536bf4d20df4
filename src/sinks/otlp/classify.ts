import type { IExportLogsServiceResponse } from '@opentelemetry/otlp-transformer';
import type { Delivery } from '../../core/sink.ts';
import { classifyHttp } from '../shared/classify.ts';
import { type HttpAnswer, NoAnswer } from '../shared/http.ts';

/** An answer to a request: a delivery, or a number of records that the receiver did not take without saying which. */
export type OtlpAnswer = Delivery | { readonly outcome: 'some_rejected'; readonly count: number };

/**
 * What an OTLP answer means. A 200 may say that records were rejected; it does not say which.
 * @see https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
 */
export function classifyOtlp(
  answer: HttpAnswer | NoAnswer,
  records: number,
  now: number,
  decode: (body: Uint8Array) => IExportLogsServiceResponse,
): OtlpAnswer {
  if (answer instanceof NoAnswer || answer.status !== 200) {
    const delivery = classifyHttp(answer, now);
    // OTLP's success is 200 alone; anything else that looks like one comes from something else than a receiver.
    return delivery.outcome === 'accepted' ? notOtlp('the answer is not OTLP’s') : delivery;
  }
  const partial = partialSuccess(answer, decode);
  if (partial === null) return notOtlp('the answer is not OTLP');
  const rejected = Number(partial.rejectedLogRecords ?? 0);
  if (rejected === 0) return { outcome: 'accepted' };
  if (rejected >= records) return { outcome: 'rejected', reason: 'otlp_partial_success' };
  return { outcome: 'some_rejected', count: rejected };
}

function notOtlp(reason: string): Delivery {
  return { outcome: 'unavailable', reason };
}

/** Receivers answer JSON or protobuf, not always in the request's encoding; an empty body is full success. */
function partialSuccess(
  { headers, body }: HttpAnswer,
  decode: (body: Uint8Array) => IExportLogsServiceResponse,
): { readonly rejectedLogRecords?: number | string | bigint } | null {
  const type = headers['content-type'] ?? '';
  try {
    if (body.length === 0) return /json|protobuf/.test(type) || type === '' ? {} : null;
    if (type.includes('protobuf')) return decode(body).partialSuccess ?? {};
    if (!type.includes('json')) return null;
    const parsed = JSON.parse(body.toString('utf8')) as { partialSuccess?: object } | null;
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? (parsed.partialSuccess ?? {})
      : null;
  } catch {
    return null;
  }
}
