import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

const HOST = '127.0.0.1';

/**
 * Stands before a single Kafka broker and makes it advertise another port: a client that came through a proxy stays with the
 * proxy, where it would go to the broker directly as soon as it has seen the cluster's metadata.
 */
export class KafkaAdvertiser implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** The port that the broker's metadata name from now on. */
  advertised = 0;

  private constructor(broker: number) {
    // In a response the host, a text with its length in front, is followed by the port, four bytes.
    const real = address(broker);
    this.#server = net.createServer((client) => {
      const upstream = net.connect(broker, HOST);
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket);
        socket.on('close', () => {
          this.#sockets.delete(socket);
          (socket === client ? upstream : client).destroy();
        });
        socket.on('error', () => undefined);
      }
      client.pipe(upstream);
      upstream.on('data', (bytes) => {
        for (let at = bytes.indexOf(real); at !== -1; at = bytes.indexOf(real, at + 1)) {
          bytes.writeInt32BE(this.advertised, at + HOST.length);
        }
        client.write(bytes);
      });
    });
  }

  static async start(broker: number): Promise<KafkaAdvertiser> {
    const advertiser = new KafkaAdvertiser(broker);
    advertiser.#server.listen(0, HOST);
    await once(advertiser.#server, 'listening');
    advertiser.advertised = advertiser.port;
    return advertiser;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function address(port: number): Buffer {
  const bytes = Buffer.alloc(HOST.length + 4);
  bytes.write(HOST, 'latin1');
  bytes.writeInt32BE(port, HOST.length);
  return bytes;
}
