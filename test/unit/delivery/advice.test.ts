import { expect, test } from 'vitest';
import { adviceFor } from '../../../src/pipeline/delivery/advice.ts';

test.each([
  ['throttled', /busy/],
  ['429 es_rejected_execution_exception', /busy/],
  ['503 unavailable_shards_exception', /busy/],
  ['HTTP 503', /busy/],
  ['HTTP 500: InternalError', /busy/],
  ['HTTP 401: the credentials are refused', /credentials/],
  ['HTTP 404: the URL is not the receiver’s', /URL/],
  ['HTTP 409', /may be wrong/],
  ['404 index_not_found_exception', /may be wrong/],
  ['no answer in time', /firewall/],
])('about %j it says %s', (reason, advice) => {
  expect(adviceFor(reason)).toMatch(advice);
});
