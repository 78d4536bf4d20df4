import type { Delivery } from '../../core/sink.ts';
import { classifyHttp, jsonBody } from '../shared/classify.ts';
import { type HttpAnswer, NoAnswer } from '../shared/http.ts';

/** Codes about single events; everything else an operator can mend. @see https://help.splunk.com/en/splunk-enterprise/get-data-in (HEC error codes) */
const BAD_EVENT = new Set([6, 12, 13, 15]);

const MENDABLE: Readonly<Record<number, string>> = {
  1: 'the token is disabled',
  2: 'the token is missing',
  3: 'the authorization header is not understood',
  4: 'the token is not known',
  7: 'the index does not exist or the token may not write it',
  10: 'the token wants a channel: set acknowledge',
  11: 'the channel is not accepted',
  14: 'the token has no indexer acknowledgement: unset acknowledge',
};

/** What an answer of the event endpoint means for a batch of `count` events. */
export function classifyHec(answer: HttpAnswer | NoAnswer, count: number, now: number): Delivery {
  if (answer instanceof NoAnswer) return { outcome: 'unavailable', reason: answer.reason };
  const body = jsonBody(answer);
  const code = typeof body?.['code'] === 'number' ? body['code'] : null;
  if (answer.status === 200) {
    return code === 0 ? { outcome: 'accepted' } : { outcome: 'unavailable', reason: 'the answer is not that of a HEC' };
  }
  if (code !== null && BAD_EVENT.has(code)) return badEvent(code, body?.['invalid-event-number'], count);
  if (code !== null && MENDABLE[code] !== undefined) {
    return { outcome: 'unavailable', reason: `HEC ${code}: ${MENDABLE[code]}` };
  }
  const delivery = classifyHttp(answer, now);
  // Without a code of Splunk's a 400 comes from something in between, which says nothing about the events.
  return delivery.outcome === 'rejected' ? { outcome: 'unavailable', reason: `HTTP ${answer.status}` } : delivery;
}

/** Splunk stops at the first bad event; whether it kept those before is not said, so all others are sent again. */
function badEvent(code: number, number: unknown, count: number): Delivery {
  const reason = `hec_${code}`;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number >= count) {
    return { outcome: 'rejected', reason };
  }
  const failed = Array.from({ length: count }, (_, at) => ({ at, retry: at !== number, reason }));
  return { outcome: 'partial', failed };
}

/** The acknowledgement id of a success, or null. */
export function ackIdOf(answer: HttpAnswer | NoAnswer): number | null {
  if (answer instanceof NoAnswer) return null;
  const id = jsonBody(answer)?.['ackId'];
  return typeof id === 'number' ? id : null;
}
