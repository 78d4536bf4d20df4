import type { Delivery, FailedRecord } from '../../core/sink.ts';
import { classifyHttp, jsonBody } from '../shared/classify.ts';
import { type HttpAnswer, NoAnswer } from '../shared/http.ts';

interface BulkItem {
  readonly status?: number;
  readonly error?: { readonly type?: string; readonly reason?: string };
}

/** Statuses of single documents that the cluster or an operator can mend: 403 is a block on the index, 404 a missing one. */
const RETRIED = new Set([401, 403, 404, 408, 429, 500, 502, 503, 504]);

/**
 * What an answer of `_bulk` means for a batch of `count` documents: each document's own status is read. 409 says that a
 * document of this id is there already, which is what was wanted.
 */
export function classifyBulk(answer: HttpAnswer | NoAnswer, count: number, now: number): Delivery {
  if (answer instanceof NoAnswer || answer.status !== 200) return classifyWhole(answer, now);
  const items = jsonBody(answer)?.['items'];
  if (!Array.isArray(items) || items.length !== count) {
    return { outcome: 'unavailable', reason: 'the answer is not that of _bulk' };
  }
  const failed: FailedRecord[] = [];
  for (let at = 0; at < count; at++) {
    const failure = classifyItem(Object.values((items[at] ?? {}) as Record<string, BulkItem>)[0], at);
    if (failure !== null) failed.push(failure);
  }
  return failed.length === 0 ? { outcome: 'accepted' } : { outcome: 'partial', failed };
}

function classifyItem(item: BulkItem | undefined, at: number): FailedRecord | null {
  const status = item?.status ?? 0;
  if ((status >= 200 && status < 300) || status === 409) return null;
  // The type only: the reason quotes the document.
  const reason = `${status} ${item?.error?.type ?? 'no error type'}`;
  // A text too long for the index's mapping (OpenSearch: 32,766 bytes): the record is taken with its digest instead.
  if (status === 413 || /immense term/.test(item?.error?.reason ?? ''))
    return { at, retry: false, reason: 'too_large' };
  return { at, retry: status === 0 || RETRIED.has(status), reason };
}

/** Other 2xx than 200 are not Elasticsearch's; a 400 of the whole is about the request, not about one document. */
function classifyWhole(answer: HttpAnswer | NoAnswer, now: number): Delivery {
  const delivery = classifyHttp(answer, now);
  if (delivery.outcome === 'accepted') return { outcome: 'unavailable', reason: 'the answer is not that of _bulk' };
  return delivery;
}
