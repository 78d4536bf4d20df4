import { writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { classifyHttp, retryAfterMs } from '../../../src/sinks/shared/classify.ts';
import { type HttpAnswer, HttpClient, NoAnswer } from '../../../src/sinks/shared/http.ts';
import { httpShape } from '../../../src/sinks/shared/http-options.ts';
import { selfSignedCertificate } from '../../support/certificate.ts';
import { HttpReceiver, type ReceivedRequest } from '../../support/json-receiver.ts';
import { memoryLog } from '../../support/memory-log.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/tmp.ts';

const options = z.object(httpShape);
const logs = memoryLog();
const host = { name: 'sink', log: logs.log, now: Date.now };
const signal = () => AbortSignal.timeout(20_000);

const clientFor = (url: string, more: object = {}) =>
  new HttpClient(url, options.parse({ timeout_ms: 5000, ...more }), host);

describe('a request', () => {
  test('goes to the base URL’s path with its query, headers, compression and basic authorization', async () => {
    const seen: ReceivedRequest[] = [];
    await using server = await HttpReceiver.start((request) => {
      seen.push(request);
      return { status: 200, body: 'ok' };
    });
    const client = clientFor(`http://us%40er:p%3Aw@127.0.0.1:${server.port}/base/?token=t`, {
      headers: { 'X-Tenant': 'a' },
    });
    const answer = await client.request(
      { method: 'POST', path: '/v1?q=1%202', body: Buffer.from('{"a":1}') },
      signal(),
    );
    client.close();
    expect(answer).toMatchObject({ status: 200, body: Buffer.from('ok') });
    expect(seen[0]).toMatchObject({ method: 'POST', url: '/base/v1?token=t&q=1+2', body: Buffer.from('{"a":1}') });
    expect(seen[0]!.headers).toMatchObject({
      authorization: `Basic ${Buffer.from('us@er:p:w').toString('base64')}`,
      'content-encoding': 'gzip',
      'x-tenant': 'a',
    });
    expect(client.origin).toBe(`http://127.0.0.1:${server.port}`);
  });

  test('without an answer in time, and to nobody, says so', async () => {
    const server = http.createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = clientFor(`http://127.0.0.1:${port}`, { timeout_ms: 50 });
    const slow = await client.request({ method: 'GET', path: '/' }, signal());
    expect(slow).toEqual(new NoAnswer('no answer within 50 ms'));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(await client.request({ method: 'GET', path: '/' }, signal())).toEqual(new NoAnswer('ECONNREFUSED'));
    client.close();
  });

  test('rejects when it is aborted', async () => {
    const server = http.createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = clientFor(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const abort = new AbortController();
    const request = client.request({ method: 'GET', path: '/' }, abort.signal);
    abort.abort(new RangeError('enough'));
    await expect(request).rejects.toThrow('enough');
    client.close();
    server.closeAllConnections();
    server.close();
  });

  test('that is refused before all of it was read has the refusal for an answer', async () => {
    const server = http.createServer((request, response) => {
      response.writeHead(413, { connection: 'close' }).end('too large');
      request.resume();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = clientFor(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { compression: 'none' });
    const answer = await client.request({ method: 'POST', path: '/', body: Buffer.alloc(20 << 20) }, signal());
    expect(classifyHttp(answer, 0)).toEqual({ outcome: 'too_large' });
    client.close();
    server.close();
  });
});

test('a token that no header can hold is said without the token', async () => {
  const client = clientFor('http://127.0.0.1:1', { headers: { authorization: 'Bearer a-secret\nx' } });
  const answer = await client.request({ method: 'GET', path: '/' }, signal());
  client.close();
  expect(answer).toEqual(new NoAnswer('a token or header has a character that HTTP does not allow'));
});

describe('TLS', () => {
  const { cert, key } = selfSignedCertificate();
  const other = selfSignedCertificate('somebody');
  let dir: TemporaryDirectory;
  let server: https.Server;
  let url: string;
  beforeAll(async () => {
    dir = await temporaryDirectory();
    for (const [name, text] of Object.entries({ cert, key, otherCert: other.cert, otherKey: other.key })) {
      writeFileSync(dir.join(name), text);
    }
    // Asks for a client certificate and says in its answer whether it was a known one.
    server = https.createServer(
      { cert, key, ca: [cert, other.cert], requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        const { authorized } = request.socket as unknown as { authorized: boolean };
        response.end(authorized ? 'known' : 'unknown');
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://localhost:${(server.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await dir[Symbol.asyncDispose]();
  });
  const get = async (tls: object | undefined, to = url) => {
    const client = clientFor(to, tls === undefined ? {} : { tls });
    const answer = await client.request({ method: 'GET', path: '/' }, signal());
    client.close();
    return answer instanceof NoAnswer ? answer.reason : answer.body.toString();
  };

  test('refuses a certificate that nobody vouches for', async () => {
    expect(await get(undefined)).toBe('TLS: DEPTH_ZERO_SELF_SIGNED_CERT');
  });

  test('refuses it whatever the environment says', async () => {
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect(await get(undefined)).toBe('TLS: DEPTH_ZERO_SELF_SIGNED_CERT');
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
  });

  test('trusts the named authority, and checks the name', async () => {
    expect(await get({ ca: dir.join('cert') })).toBe('unknown');
    expect(await get({ ca: dir.join('cert'), server_name: 'elsewhere.example' })).toMatch(
      /^TLS: ERR_TLS_CERT_ALTNAME_INVALID/,
    );
    expect(await get({ ca: dir.join('otherCert') })).toMatch(/^TLS: /);
  });

  test('shows a client certificate', async () => {
    expect(await get({ ca: dir.join('cert'), cert: dir.join('otherCert'), key: dir.join('otherKey') })).toBe('known');
  });

  test('goes without verification only when told, and says so', async () => {
    const before = logs.count('sink_tls_unverified');
    expect(await get({ verify: false })).toBe('unknown');
    expect(logs.count('sink_tls_unverified')).toBe(before + 1);
  });

  test('a certificate file that cannot be read names the option', () => {
    expect(() => clientFor(url, { tls: { ca: '/no/such/file' } })).toThrow(
      expect.objectContaining({ code: 'AUD_SINK_OPTIONS', message: expect.stringContaining('tls.ca') }),
    );
  });
});

describe('classifyHttp', () => {
  const answer = (status: number, headers: object = {}): HttpAnswer => ({
    status,
    headers: headers as never,
    body: Buffer.alloc(0),
  });
  test.each([
    [200, {}, { outcome: 'accepted' }],
    [204, {}, { outcome: 'accepted' }],
    [301, {}, { outcome: 'unavailable', reason: 'HTTP 301: redirects are not followed' }],
    [400, {}, { outcome: 'rejected', reason: 'http_400' }],
    [401, {}, { outcome: 'unavailable', reason: 'HTTP 401: the credentials are refused' }],
    [404, {}, { outcome: 'unavailable', reason: 'HTTP 404: the URL is not the receiver’s' }],
    [413, {}, { outcome: 'too_large' }],
    [422, {}, { outcome: 'rejected', reason: 'http_422' }],
    [429, { 'retry-after': '7' }, { outcome: 'throttled', afterMs: 7000 }],
    [429, {}, { outcome: 'throttled', afterMs: null }],
    [500, {}, { outcome: 'unavailable', reason: 'HTTP 500' }],
    [503, {}, { outcome: 'unavailable', reason: 'HTTP 503' }],
    [503, { 'retry-after': '1' }, { outcome: 'throttled', afterMs: 1000 }],
  ] as const)('%i %j is %j', (status, headers, expected) => {
    expect(classifyHttp(answer(status, headers), 0)).toEqual(expected);
  });

  test.each([
    ['120', 120_000],
    ['0', 0],
    ['1.5', 1500],
    ['Thu, 01 Jan 1970 00:01:40 GMT', 90_000],
    ['Wed, 31 Dec 1969 23:00:00 GMT', 0],
    ['999999999', 3_600_000],
    ['soon', null],
    ['', null],
    [undefined, null],
  ])('Retry-After %j is %j ms', (value, expected) => {
    expect(retryAfterMs({ headers: value === undefined ? {} : { 'retry-after': value } }, 10_000)).toBe(expected);
  });
});
