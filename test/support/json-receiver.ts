import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import zlib from 'node:zlib';

export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  /** Uncompressed. */
  readonly body: Buffer;
}

export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** An HTTP server in the test's process that keeps its data over a restart; what it answers is the test's business. */
export class HttpReceiver implements AsyncDisposable {
  #server: http.Server;
  #port = 0;
  readonly #handle: (request: ReceivedRequest) => Reply | Promise<Reply>;

  private constructor(handle: (request: ReceivedRequest) => Reply | Promise<Reply>) {
    this.#handle = handle;
    this.#server = this.#create();
  }

  static async start(handle: (request: ReceivedRequest) => Reply | Promise<Reply>): Promise<HttpReceiver> {
    const receiver = new HttpReceiver(handle);
    await receiver.#listen();
    return receiver;
  }

  get port(): number {
    return this.#port;
  }

  async restart(whileDown: () => Promise<void>): Promise<void> {
    await this.#stop();
    await whileDown();
    this.#server = this.#create();
    await this.#listen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  #create(): http.Server {
    return http.createServer(async (request, response) => {
      try {
        const chunks: Buffer[] = [];
        for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
        const raw = Buffer.concat(chunks);
        const body = request.headers['content-encoding'] === 'gzip' ? zlib.gunzipSync(raw) : raw;
        const { method = '', url = '', headers } = request;
        const reply = await this.#handle({ method, url, headers, body });
        response
          .writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers })
          .end(reply.body ?? '{}');
      } catch {
        // The request was cut: there is nobody to answer.
        response.destroy();
      }
    });
  }

  async #listen(): Promise<void> {
    for (;;) {
      this.#server.listen(this.#port, '127.0.0.1');
      try {
        await once(this.#server, 'listening');
        break;
      } catch {
        await sleep(50);
      }
    }
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async #stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
