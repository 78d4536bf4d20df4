import { describe, expect, test } from 'vitest';
import { postgresError } from '../../../connectors/postgres/errors.ts';

describe('what is thrown while a source is read', () => {
  test.each([
    ['a defect', new TypeError('x is not a function'), 'AUD_INTERNAL', 'never'],
    ['a message that no memory is left for', new RangeError('Array buffer allocation failed'), 'AUD_INTERNAL', 'soon'],
    ['a lost connection', new Error('Connection terminated unexpectedly'), 'AUD_PG_CONNECT', 'soon'],
    ['a refused one', Object.assign(new Error('no'), { code: 'ECONNREFUSED' }), 'AUD_PG_CONNECT', 'soon'],
  ] as const)('%s', (_, cause, code, retry) => {
    expect(postgresError(cause, 'shop')).toMatchObject({ code, retry });
  });
});
