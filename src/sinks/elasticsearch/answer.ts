import type { Delivery, FailedRecord } from '../../core/sink.ts';
import { classifyHttp, jsonBody } from '../shared/classify.ts';
import { type HttpAnswer, NoAnswer } from '../shared/http.ts';

interface BulkItem {
  readonly status?: number;
  readonly error?: { readonly type?: string; readonly reason?: string };
}

/** Statuses of single documents that the cluster or an operator can mend: 403 is a block on the index, 404 a missing one. */
const RETRIED = new Set([401, 403, 404, 408, 429, 500, 502, 503, 504]);
/** Said with 400, but of the index and not of the document: it is closed, or the cluster has no room for more shards. */
const OF_THE_INDEX = new Set(['index_closed_exception', 'validation_exception', 'invalid_index_name_exception']);

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
  if (NO_PIPELINE.test(item?.error?.reason ?? ''))
    return { at, retry: true, reason: 'the ingest pipeline does not exist' };
  const mendable = status === 0 || RETRIED.has(status) || OF_THE_INDEX.has(item?.error?.type ?? '');
  return { at, retry: mendable, reason };
}

/** `pipeline with id [x] does not exist`, an illegal_argument_exception like those about documents. */
const NO_PIPELINE = /^pipeline with id \[.{0,255}\] does not exist/;

/** Other 2xx than 200 are not Elasticsearch's; a 400 of the whole is about the request, not about one document. */
function classifyWhole(answer: HttpAnswer | NoAnswer, now: number): Delivery {
  const delivery = classifyHttp(answer, now);
  if (delivery.outcome === 'accepted') return { outcome: 'unavailable', reason: 'the answer is not that of _bulk' };
  return delivery;
}
