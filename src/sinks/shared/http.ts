import http from 'node:http';
import https from 'node:https';
import { gzipSync } from 'node:zlib';
import { messageOf, systemCode } from '../../errors/audit-error.ts';
import type { SinkHost } from './host.ts';
import type { HttpOptions } from './http-options.ts';
import { tlsConnection, VERIFIED } from './tls.ts';

/** Audit records shrink about as much at 1 as at 6, in a third of the time (bench/RESULTS.md). */
const GZIP_LEVEL = 1;
/** Answers to large requests list every record; anything longer is no answer of a receiver. */
const MAX_ANSWER_BYTES = 32 << 20;

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** Path and query, joined to the base URL's path. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Default: as the sink's options say. */
  readonly compress?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** No complete answer came: refused, cut, timed out, not HTTP, a certificate that does not hold. `message` is safe to log. */
export class NoAnswer {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A keep-alive HTTP client for one receiver. Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`). */
export class HttpClient {
  readonly #base: URL;
  readonly #options: HttpOptions;
  readonly #agent: http.Agent;
  readonly #send: typeof http.request;
  readonly #headers: Record<string, string>;

  /** @throws AUD_SINK_OPTIONS when a certificate file cannot be read. */
  constructor(url: string, options: HttpOptions, host: SinkHost, headers: Readonly<Record<string, string>> = {}) {
    this.#base = new URL(url);
    this.#options = options;
    const secure = this.#base.protocol === 'https:';
    const shared = { keepAlive: true, maxSockets: 16, proxyEnv: process.env } as const;
    this.#agent = secure
      ? new https.Agent({ ...shared, ...tlsConnection(options.tls ?? VERIFIED, host) })
      : new http.Agent(shared);
    this.#send = secure ? https.request : http.request;
    this.#headers = {
      'user-agent': 'changetrail',
      ...basicAuthorization(this.#base),
      ...headers,
      ...lowerCase(options.headers),
    };
  }

  /** Where the receiver is, without path, query and password: safe to log. */
  get origin(): string {
    return this.#base.origin;
  }

  /** The complete answer, whatever its status, or why there is none. Rejects only when `signal` aborts. */
  async request(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer | NoAnswer> {
    const compress = request.body !== undefined && (request.compress ?? this.#options.compression === 'gzip');
    // In this thread, which is the sink's: the pool of the process is there for the ledger's writes and syncs.
    const body = compress ? gzipSync(request.body!, { level: GZIP_LEVEL }) : request.body;
    signal.throwIfAborted();
    const headers: Record<string, string> = { ...this.#headers, ...request.headers };
    if (compress) headers['content-encoding'] = 'gzip';
    if (body !== undefined) headers['content-length'] = String(body.length);
    try {
      return await this.#exchange(request, headers, body, signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      return new NoAnswer(connectionTrouble(error));
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #exchange(
    { method, path }: HttpRequest,
    headers: Record<string, string>,
    body: Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const timeout = AbortSignal.timeout(this.#options.timeout_ms);
    return new Promise((resolve, reject) => {
      const outgoing = this.#send(joinUrl(this.#base, path), {
        method,
        headers,
        agent: this.#agent,
        signal: AbortSignal.any([signal, timeout]),
      });
      const fail = (error: unknown) => {
        reject(timeout.aborted ? new RangeError(`no answer within ${this.#options.timeout_ms} ms`) : error);
      };
      let answering = false;
      outgoing.on('response', (incoming) => {
        answering = true;
        const status = incoming.statusCode!;
        readBody(incoming).then(
          (content) => resolve({ status, headers: incoming.headers, body: content }),
          (error: unknown) => {
            outgoing.destroy();
            // A refusal stands also when its explanation was cut short: a receiver may answer 413 and close.
            if (status >= 400 && !timeout.aborted && !signal.aborted) {
              resolve({ status, headers: incoming.headers, body: Buffer.alloc(0) });
            } else fail(error);
          },
        );
      });
      // An answer that came before all of the request was sent counts, not the broken pipe behind it.
      outgoing.on('error', (error) => answering || fail(error));
      outgoing.end(body);
    });
  }
}

async function readBody(incoming: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new RangeError('the answer is too long');
    chunks.push(chunk);
  }
  if (!incoming.complete) throw new RangeError('the answer was cut short');
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

function joinUrl(base: URL, path: string): URL {
  const url = new URL(base);
  const [pathname, query] = path.split('?', 2) as [string, string | undefined];
  if (pathname !== '') url.pathname = base.pathname.replace(/\/$/, '') + pathname;
  if (query !== undefined) for (const [key, value] of new URLSearchParams(query)) url.searchParams.set(key, value);
  url.username = '';
  url.password = '';
  return url;
}

function basicAuthorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  return { authorization: basicAuth(decodeURIComponent(username), decodeURIComponent(password)) };
}

/** The value of an `Authorization` header for a user and password. */
export function basicAuth(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

function lowerCase(headers: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
}

/** What went wrong on the way, in words that hold no secret: Node's error codes, and its texts about certificates. */
function connectionTrouble(error: unknown): string {
  const code = systemCode(error);
  if (code?.startsWith('HPE_') === true) return 'the answer is not HTTP';
  // Nothing was sent. Of the header only its name could be said, and the value is often the secret itself.
  if (code === 'ERR_INVALID_CHAR') return 'a token or header has a character that HTTP does not allow';
  if (code === undefined) return messageOf(error);
  return /CERT|SELF_SIGNED|TLS|SSL|UNABLE_TO/.test(code) ? `TLS: ${code}` : code;
}
