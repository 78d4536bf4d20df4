import { once } from 'node:events';
import net from 'node:net';

/** What a proxied connection suffers. Bytes are counted in the direction the fault names. */
export type Fault =
  | { readonly kind: 'none' }
  /** The connection is accepted and closed at once. */
  | { readonly kind: 'refuse' }
  /** Reset after so many bytes to (`up`) or from (`down`) the receiver; with `down` 0 the request arrives and the answer is lost. */
  | { readonly kind: 'cut'; readonly direction: 'up' | 'down'; readonly afterBytes: number }
  /** After so many bytes nothing passes in that direction any more, the connection stays open. */
  | { readonly kind: 'hang'; readonly direction: 'up' | 'down'; readonly afterBytes: number }
  /** A few bytes at a time in that direction. */
  | { readonly kind: 'drip'; readonly direction: 'up' | 'down'; readonly bytes: number; readonly everyMs: number };

export const NO_FAULT: Fault = { kind: 'none' };

/** A TCP proxy on loopback in front of a receiver that breaks connections by a plan. Protocol-blind: TLS passes too. */
export class FaultProxy implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #target: number;
  readonly #sockets = new Set<net.Socket>();
  /** Asked for each new connection, in order. */
  plan: (connection: number) => Fault = () => NO_FAULT;
  /** Connections accepted so far. */
  connections = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = net.createServer((client) => this.#accept(client));
  }

  /** A proxy in front of `127.0.0.1:target`. */
  static async start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Resets every open connection. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: net.Socket): void {
    const fault = this.plan(this.connections++);
    this.#track(client);
    if (fault.kind === 'refuse') {
      client.resetAndDestroy();
      return;
    }
    const receiver = net.connect({ port: this.#target, host: '127.0.0.1', noDelay: true });
    this.#track(receiver);
    const end = () => {
      client.resetAndDestroy();
      receiver.resetAndDestroy();
    };
    for (const socket of [client, receiver]) socket.on('error', end).on('close', () => socket.destroyed || end());
    receiver.on('close', () => client.destroy());
    client.on('close', () => receiver.destroy());
    pass(client, receiver, fault, 'up', end);
    pass(receiver, client, fault, 'down', end);
  }

  #track(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
  }
}

function pass(from: net.Socket, to: net.Socket, fault: Fault, direction: 'up' | 'down', end: () => void): void {
  let passed = 0;
  const broken = (fault.kind === 'cut' || fault.kind === 'hang') && fault.direction === direction ? fault : null;
  if (fault.kind === 'drip' && fault.direction === direction) {
    drip(from, to, fault.bytes, fault.everyMs);
    return;
  }
  from.on('data', (bytes: Buffer) => {
    const room = broken === null ? bytes.length : Math.min(bytes.length, broken.afterBytes - passed);
    if (room > 0 && !to.destroyed && !to.write(bytes.subarray(0, room))) {
      from.pause();
      to.once('drain', () => from.resume());
    }
    passed += Math.max(0, room);
    if (room < bytes.length && broken?.kind === 'cut') end();
  });
  from.on('end', () => broken === null && to.end());
}

function drip(from: net.Socket, to: net.Socket, bytes: number, everyMs: number): void {
  let held = Buffer.alloc(0);
  let ended = false;
  from.on('data', (more: Buffer) => {
    held = Buffer.concat([held, more]);
  });
  from.on('end', () => {
    ended = true;
  });
  const timer = setInterval(() => {
    if (to.destroyed) return;
    if (held.length > 0) to.write(held.subarray(0, bytes));
    held = held.subarray(bytes);
    if (ended && held.length === 0) to.end();
  }, everyMs);
  to.on('close', () => clearInterval(timer));
}
