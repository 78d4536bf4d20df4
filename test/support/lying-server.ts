import { once } from 'node:events';
import net from 'node:net';

/** Bytes sent as the answer to whatever comes; then the connection is kept or closed. */
export interface Lie {
  readonly name: string;
  readonly bytes: string;
  readonly close: boolean;
}

const html = '<html><body>It works!</body></html>';

/** None of these is a receiver's word that it has the records. */
export const LIES: readonly Lie[] = [
  { name: 'closes at once', bytes: '', close: true },
  { name: 'not the protocol', bytes: '\u0000\u0001\u0002garbage\r\n\r\n\r\n', close: true },
  { name: 'an error page', bytes: answer('500 Internal Server Error', html), close: false },
  { name: 'a bad gateway', bytes: answer('502 Bad Gateway', html), close: true },
  { name: 'a redirect', bytes: answer('302 Found', '', 'location: /login\r\n'), close: false },
  { name: 'a success cut short', bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"text":"Succ', close: true },
  {
    name: 'a success that promises more',
    bytes: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel',
    close: true,
  },
  { name: 'an odd status', bytes: answer('799 Odd', 'x'), close: true },
  { name: 'only promises', bytes: 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n', close: true },
  { name: 'a limit without a time', bytes: answer('429 Too Many Requests', ''), close: false },
  { name: 'a limit with a broken time', bytes: answer('503 Busy', '', 'retry-after: soon\r\n'), close: false },
];

function answer(status: string, body: string, headers = ''): string {
  return `HTTP/1.1 ${status}\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`;
}

/** A server that answers every connection's first bytes with a lie. */
export class LyingServer implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  lie: Lie = LIES[0]!;

  private constructor() {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
      socket.once('data', () => {
        socket.write(this.lie.bytes);
        if (this.lie.close) socket.end();
      });
      socket.resume();
    });
  }

  static async start(): Promise<LyingServer> {
    const liar = new LyingServer();
    liar.#server.listen(0, '127.0.0.1');
    await once(liar.#server, 'listening');
    return liar;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
