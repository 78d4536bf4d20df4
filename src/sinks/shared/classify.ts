import type { Delivery } from '../../core/sink.ts';
import { type HttpAnswer, NoAnswer } from './http.ts';

/** A receiver that names a longer wait than this is asked again all the same, in milliseconds. */
const LONGEST_WAIT_MS = 3_600_000;

/**
 * What an HTTP answer means where the receiver says nothing more exact in its body. Refused credentials and wrong addresses
 * are `unavailable`: an operator can mend them, and no record may be given up for them.
 */
export function classifyHttp(answer: HttpAnswer | NoAnswer, now: number): Delivery {
  if (answer instanceof NoAnswer) return { outcome: 'unavailable', reason: answer.reason };
  const { status } = answer;
  if (status >= 200 && status < 300) return { outcome: 'accepted' };
  if (status === 413) return { outcome: 'too_large' };
  const afterMs = retryAfterMs(answer, now);
  if (status === 429 || (status === 503 && afterMs !== null)) return { outcome: 'throttled', afterMs };
  if (status === 400 || status === 422) return { outcome: 'rejected', reason: `http_${status}` };
  return { outcome: 'unavailable', reason: `HTTP ${status}${hint(status)}` };
}

function hint(status: number): string {
  if (status === 401 || status === 403) return ': the credentials are refused';
  if (status === 404 || status === 405) return ': the URL is not the receiver’s';
  if (status >= 300 && status < 400) return ': redirects are not followed';
  return '';
}

/** The wait a `Retry-After` header names, seconds or a date, in milliseconds; null without a readable one. */
export function retryAfterMs({ headers }: Pick<HttpAnswer, 'headers'>, now: number): number | null {
  const value = headers['retry-after']?.trim();
  if (value === undefined) return null;
  const ms = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(LONGEST_WAIT_MS, Math.max(0, ms)) : null;
}

/** The answer's body as a JSON object, or null. */
export function jsonBody({ body }: HttpAnswer): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
