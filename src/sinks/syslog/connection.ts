import net from 'node:net';
import tls from 'node:tls';
import type { SinkHost } from '../shared/host.ts';
import { type TlsConnection, tlsConnection, VERIFIED } from '../shared/tls.ts';
import type { SyslogOptions } from './options.ts';

const PORTS = { tcp: 514, tls: 6514, relp: 2514, relp_tls: 2514 } as const;

/** Opens connections to one receiver. */
export class Dialer {
  readonly #options: SyslogOptions;
  readonly #tls: TlsConnection | null;

  /** @throws AUD_SINK_OPTIONS when a certificate file cannot be read. */
  constructor(options: SyslogOptions, host: SinkHost) {
    this.#options = options;
    const secure = options.transport === 'tls' || options.transport === 'relp_tls';
    this.#tls = secure ? tlsConnection(options.tls ?? VERIFIED, host) : null;
  }

  /** `tls://syslog.example.com:6514`: safe to log. */
  get origin(): string {
    const { transport, host } = this.#options;
    return `${transport}://${host}:${this.#port}`;
  }

  get #port(): number {
    return this.#options.port ?? PORTS[this.#options.transport];
  }

  /** A socket that is connected, and with TLS verified; destroyed when `signal` aborts. Rejects with the socket's error. */
  open(signal: AbortSignal): Promise<net.Socket> {
    const { host } = this.#options;
    const target = { host, port: this.#port };
    const name = net.isIP(host) === 0 ? { servername: host } : {};
    const socket = this.#tls === null ? net.connect(target) : tls.connect({ ...target, ...name, ...this.#tls });
    const abort = () => socket.destroy(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
    return new Promise((resolve, reject) => {
      socket.once(this.#tls === null ? 'connect' : 'secureConnect', () => resolve(socket));
      socket.once('error', reject);
      socket.once('close', () => reject(new LostConnection()));
    });
  }

  /** As `open`, for a connection that outlives the batch that opens it: `signal` ends the dialling only. */
  async dial(signal: AbortSignal): Promise<net.Socket> {
    const dialling = new AbortController();
    const abort = () => dialling.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    try {
      return await this.open(dialling.signal);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

/** The receiver ended the connection. */
export class LostConnection extends Error {
  override readonly name = 'LostConnection';

  constructor() {
    super('the connection was lost');
  }
}
