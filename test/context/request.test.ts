import { expect, test } from 'vitest';
import { requestActor, traceOf } from '../../src/context/request.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

test.each([
  `00-${TRACE}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-00`,
  // A later version may have more behind what is known.
  `cc-${TRACE}-${SPAN}-01-what-the-future-brings`,
])('traceparent %s is read', (header) => {
  expect(traceOf(header)).toEqual({ trace_id: TRACE, span_id: SPAN });
});

test.each([
  undefined,
  '',
  `00-${TRACE}-${SPAN}`,
  `00-${TRACE}-${SPAN}-01-more`,
  `ff-${TRACE}-${SPAN}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
  `00-${'0'.repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.slice(1)}-${SPAN}-01`,
  ` 00-${TRACE}-${SPAN}-01`,
])('traceparent %s is not one', (header) => {
  expect(traceOf(header)).toEqual({});
});

test('an actor or a context of the application wins over what the request says', () => {
  const headers: Record<string, string> = { 'x-request-id': 'from outside' };
  const facts = { request: {}, header: (name: string) => headers[name], client: '::ffff:10.0.0.7' };
  const plain = requestActor(facts, {})();
  expect(plain).toEqual({ client: '10.0.0.7', request_id: expect.stringMatching(/^[0-9a-f-]{36}$/) });
  const own = requestActor(facts, {
    requestId: () => 'own',
    client: () => undefined,
    context: () => ({ tenant: 't', request_id: 'context' }),
    actor: () => ({ id: 'alice', tenant: 'actor' }),
  })();
  expect(own).toEqual({ id: 'alice', tenant: 'actor', request_id: 'context' });
});
