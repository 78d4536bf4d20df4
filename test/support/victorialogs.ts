import type { Sink } from '../../src/core/sink.ts';
import type { SinkReceiver } from '../conformance/sink-suite.ts';
import { Receiver } from './receivers.ts';

/** VictoriaLogs as the receiver of one of the protocols it takes; `sink` makes one that talks to a port. */
export async function startVictoria(sink: (port: number) => Sink): Promise<SinkReceiver> {
  const server = await Receiver.start('victorialogs', { args: ['0', '0'] });
  return {
    port: server.port,
    sink,
    ids: () => victoriaIds(server.port),
    restart: (whileDown) => server.restart(whileDown),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/**
 * Ids of all records VictoriaLogs holds. The record's text is in `_msg`, or its members are fields; `id` is looked for in
 * both. Its own order is by time.
 */
async function victoriaIds(port: number): Promise<string[]> {
  const base = `http://127.0.0.1:${port}`;
  await fetch(`${base}/internal/force_flush`);
  const answer = await fetch(`${base}/select/logsql/query`, {
    method: 'POST',
    body: new URLSearchParams({ query: '* | fields _msg, id, event.id', limit: '2000000' }),
  });
  if (!answer.ok) throw new Error(`VictoriaLogs answered ${answer.status}: ${await answer.text()}`);
  const lines = (await answer.text()).split('\n').filter((line) => line !== '');
  return lines.flatMap((line) => {
    const found = JSON.parse(line) as Record<string, string>;
    if (found['id'] !== undefined && found['id'] !== '') return [found['id']];
    if (found['event.id'] !== undefined && found['event.id'] !== '') return [found['event.id']];
    const id = /"id":"((?:[^"\\]|\\.)*)"/.exec(found['_msg'] ?? '')?.[1];
    return id === undefined ? [] : [JSON.parse(`"${id}"`) as string];
  });
}
