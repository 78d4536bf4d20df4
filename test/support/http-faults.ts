import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What happens to one request. `forwarded` ones reach the receiver although the sender does not learn of it. */
export type HttpFault =
  | { readonly kind: 'pass' }
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string; readonly forwarded: boolean }
  | { readonly kind: 'cut'; readonly forwarded: boolean }
  | { readonly kind: 'hang'; readonly forwarded: boolean }
  /** The receiver's answer comes a few bytes at a time, too slowly to be complete in time. */
  | { readonly kind: 'drip' }
  /** Cut in the middle of the receiver's answer. */
  | { readonly kind: 'half' }
  /** The receiver's answer with other bytes in its body. */
  | { readonly kind: 'garble' };

/** An HTTP proxy on loopback that does to the n-th request what the schedule says, and lets the rest pass. */
export class HttpFaultProxy implements AsyncDisposable {
  readonly #server: http.Server;
  readonly #target: number;
  schedule: readonly HttpFault[] = [];
  /** Requests since the schedule was set. */
  requests = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = http.createServer((request, response) => {
      this.#handle(request, response).catch(() => response.destroy());
    });
  }

  static async start(target: number): Promise<HttpFaultProxy> {
    const proxy = new HttpFaultProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const fault = this.schedule[this.requests++] ?? { kind: 'pass' };
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const forwarded = !('forwarded' in fault) || fault.forwarded;
    const answer = forwarded ? await forward(this.#target, request, Buffer.concat(chunks)) : null;
    if (fault.kind === 'status') {
      const after = fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter };
      response.writeHead(fault.status, after).end('{"text":"as a proxy says"}');
    } else if (fault.kind === 'cut') request.socket.resetAndDestroy();
    else if (fault.kind !== 'hang') reply(request, response, answer!, fault.kind);
  }
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

function reply(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  { status, headers, body }: Answer,
  how: 'pass' | 'drip' | 'half' | 'garble',
): void {
  const { connection: _c, 'transfer-encoding': _t, ...kept } = headers;
  if (how === 'pass') {
    response.writeHead(status, kept).end(body);
    return;
  }
  if (how === 'garble') {
    response
      .writeHead(status, { ...kept, 'content-length': body.length })
      .end(Buffer.from(body.map((byte) => byte ^ 0x15)));
    return;
  }
  response.writeHead(status, { ...kept, 'content-length': body.length + 1 });
  response.write(body.subarray(0, body.length >> 1));
  if (how === 'half') request.socket.destroySoon();
}

function forward(port: number, request: http.IncomingMessage, body: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', url = '/', headers } = request;
    const outgoing = http.request({ port, host: '127.0.0.1', method, path: url, headers }, async (incoming) => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
      resolve({ status: incoming.statusCode!, headers: incoming.headers, body: Buffer.concat(chunks) });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
