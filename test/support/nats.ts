import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { natsOptions } from '../../src/sinks/nats/options.ts';
import { createNatsSink } from '../../src/sinks/nats/sink.ts';
import type { SinkReceiver } from '../conformance/sink-suite.ts';
import { memoryLog } from './memory-log.ts';
import { Receiver } from './receivers.ts';

const USER = 'audit';
const PASSWORD = 'a-nats-password';
export const NATS_CONFIG = `authorization { user: ${USER}, password: "${PASSWORD}" }`;
const TEN_MINUTES_NS = 600_000_000_000;

/** Options of a sink with good credentials. */
export const optionsFor = (port: number, more: object = {}) =>
  natsOptions.parse({
    type: 'nats',
    servers: [`nats://127.0.0.1:${port}`],
    user: USER,
    password: PASSWORD,
    timeout_ms: 20_000,
    ...more,
  });
export const sinkTo = (port: number, more: object = {}) =>
  createNatsSink(optionsFor(port, more), { name: 'nats', log: memoryLog().log, now: Date.now });

/** A connection of the test's own, closed when disposed. */
export async function manager(port: number) {
  const connection = await connect({ servers: `127.0.0.1:${port}`, user: USER, pass: PASSWORD });
  const jsm = await jetstreamManager(connection);
  return { jsm, [Symbol.asyncDispose]: () => connection.close() };
}

interface Stored {
  readonly subject: string;
  readonly id: string;
  readonly kind: string;
  readonly index: string;
  readonly text: string;
}

/** What a stream holds from a sequence number on. */
export async function messagesOf(port: number, stream: string, from = 1): Promise<Stored[]> {
  await using own = await manager(port);
  const { state } = await own.jsm.streams.info(stream);
  const stored: Stored[] = [];
  for (let seq = Math.max(from, state.first_seq); seq <= state.last_seq; seq++) {
    const message = await own.jsm.streams.getMessage(stream, { seq });
    if (message === null) continue;
    const header = (name: string) => message.header.get(name);
    stored.push({
      subject: message.subject,
      id: header('Nats-Msg-Id'),
      kind: header('Changetrail-Kind'),
      index: header('Changetrail-Index'),
      text: message.string(),
    });
  }
  return stored;
}

/** NATS with a stream for what the sink publishes by default. */
export async function startNats(): Promise<SinkReceiver> {
  const server = await Receiver.start('nats', { env: { NATS_CONFIG } });
  const { port } = server;
  {
    await using own = await manager(port);
    await own.jsm.streams.add({ name: 'AUDIT', subjects: ['changetrail.>'], duplicate_window: TEN_MINUTES_NS });
  }
  const seen: string[] = [];
  return {
    port,
    sink: (to) => sinkTo(to, to === port ? {} : { timeout_ms: 1500 }),
    async ids() {
      for (const { id } of await messagesOf(port, 'AUDIT', seen.length + 1)) seen.push(id);
      return seen;
    },
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (to) => sinkTo(to, { password: 'wrong' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
