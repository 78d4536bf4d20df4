import { once } from 'node:events';
import net from 'node:net';

/**
 * A network between the product and a server on this machine that a test can cut, silence and turn to another server. Protocol-blind.
 */
export class Link implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #silent = false;
  /** Port on 127.0.0.1 that new connections lead to. */
  target: number;
  /** Whether new connections are accepted; else they are reset. */
  open = true;
  /** When each connection was asked for, milliseconds. */
  readonly attempts: number[] = [];

  private constructor(target: number) {
    this.target = target;
    this.#server = net.createServer((client) => this.#accept(client));
  }

  static async start(target: number): Promise<Link> {
    const link = new Link(target);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** The URL through this link. */
  through(url: string): string {
    const changed = new URL(url);
    changed.hostname = '127.0.0.1';
    changed.port = String(this.port);
    return changed.href;
  }

  /** Resets every open connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Connections stay open, bytes go nowhere; new ones are accepted and get no answer. */
  silence(): void {
    this.#silent = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What had been silent is lost; new connections work. */
  speak(): void {
    this.#silent = false;
    this.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: net.Socket): void {
    this.attempts.push(Date.now());
    this.#track(client);
    if (!this.open) {
      client.resetAndDestroy();
      return;
    }
    if (this.#silent) {
      client.pause();
      return;
    }
    const server = net.connect({ port: this.target, host: '127.0.0.1' });
    this.#track(server);
    client.pipe(server);
    server.pipe(client);
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
  }

  #track(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
  }
}
