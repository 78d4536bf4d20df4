// The socket of a replication stream without TLS: it reads into one buffer that is used again.
import { Socket } from 'node:net';

/**
 * As much as the runtime itself reads at a time. Larger reads make the kernel open its window further, and a server that never
 * has to wait sends each message alone, which costs it more.
 */
const READ_BYTES = 64 << 10;

export interface ReplicationSocket {
  readonly socket: Socket;
  /** From now on what is read goes to `receive`, not to listeners of `data`. The bytes are valid during the call only. */
  take(receive: (bytes: Buffer) => void): void;
}

/**
 * A socket that makes no buffer a read: under load those are hundreds of megabytes a second, which wait for the garbage
 * collector. Until `take` it behaves as any other.
 * @see https://nodejs.org/api/net.html#new-netsocketoptions (onread)
 */
export function replicationSocket(): ReplicationSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  let receive: ((bytes: Buffer) => void) | null = null;
  const socket = new Socket({
    onread: {
      buffer,
      callback(bytes) {
        const read = buffer.subarray(0, bytes);
        // The driver may keep what it is given.
        if (receive === null) socket.emit('data', Buffer.from(read));
        else receive(read);
        return true;
      },
    },
  });
  return {
    socket,
    take(receiver) {
      receive = receiver;
    },
  };
}
