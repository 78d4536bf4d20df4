import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * A free TCP port on 127.0.0.1, from 20000 to 31999: below the range from which systems take the ports of outgoing connections, so that
 * a server's port is still free after a restart and a client that reconnects to a stopped server cannot connect to itself.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const port = randomInt(20_000, 32_000);
    if (await canListen(port)) return port;
  }
  throw new Error('no free TCP port found between 20000 and 31999 on 127.0.0.1');
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
