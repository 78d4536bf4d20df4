import type { Delivery } from '../../core/sink.ts';
import { messageOf, systemCode } from '../../errors/audit-error.ts';
import { retryAfterMs } from '../shared/classify.ts';

interface S3Error {
  readonly name?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $retryable?: { readonly throttling?: boolean };
  /** What the client had from the service, as far as it had anything. */
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

const HINTS: Readonly<Record<string, string>> = {
  NoSuchBucket: 'the bucket does not exist',
  AccessDenied: 'the credentials may not write to the bucket',
  InvalidAccessKeyId: 'the credentials are refused',
  SignatureDoesNotMatch: 'the credentials are refused',
  ExpiredToken: 'the credentials have expired',
  CredentialsProviderError: 'no credentials were found',
  ObjectLockConfigurationNotFoundError: 'the bucket has no Object Lock',
  TimeoutError: 'no answer in time',
  AbortError: 'no answer in time',
};

/**
 * What a failed upload means. S3 does not look into objects: whatever it refuses, an operator or time mends, so no record
 * is given up. A single object that is too large for it is over 5 GB.
 */
export function classifyS3Error(error: unknown, now: number): Delivery {
  const { name = '', message = '', $metadata, $retryable, $response } = error as S3Error;
  const status = $metadata?.httpStatusCode;
  if (name === 'EntityTooLarge' || status === 413) return { outcome: 'too_large' };
  if (name === 'SlowDown' || status === 429 || $retryable?.throttling === true) {
    return { outcome: 'throttled', afterMs: retryAfterMs({ headers: $response?.headers ?? {} }, now) };
  }
  if (/object lock/i.test(message)) return { outcome: 'unavailable', reason: 'the bucket has no Object Lock' };
  const code = systemCode(error);
  return {
    outcome: 'unavailable',
    reason: HINTS[name] ?? code ?? (status === undefined ? messageOf(error) : `HTTP ${status}: ${name}`),
  };
}

/** True when the object is there already: its key holds the digest of its content, so it is the same. */
export function isAlreadyThere(error: unknown): boolean {
  const { name, $metadata } = error as S3Error;
  return name === 'PreconditionFailed' || $metadata?.httpStatusCode === 412;
}

/** True when the service does not know conditional writes. */
export function isNotImplemented(error: unknown): boolean {
  const { name, $metadata } = error as S3Error;
  return name === 'NotImplemented' || $metadata?.httpStatusCode === 501;
}
