import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, test } from 'vitest';
import { createElasticsearchSink, elasticsearchOptions } from '../../src/sinks/elasticsearch/sink.ts';
import { HttpReceiver, type ReceivedRequest, type Reply } from '../support/json-receiver.ts';
import { memoryLog } from '../support/memory-log.ts';
import { runCli } from '../support/run-cli.ts';
import { temporaryDirectory } from '../support/tmp.ts';

interface Finding {
  readonly part: string;
  readonly name: string;
  readonly level: string;
  readonly detail: string;
  readonly fix?: string;
}

/** Takes connections and never answers. */
async function startSilent() {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => sockets.add(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function doctor(sinks: Readonly<Record<string, object>>) {
  await using dir = await temporaryDirectory();
  const config = dir.join('changetrail.yaml');
  const source = { type: 'postgres', url: 'postgres://u:source-secret@127.0.0.1:1/shop' };
  writeFileSync(config, JSON.stringify({ data: dir.join('data'), sources: { shop: source }, sinks }));
  const run = await runCli(['doctor', '--config', config, '--json']);
  const findings = JSON.parse(run.stdout).findings as Finding[];
  return { run, of: (part: string) => findings.filter((finding) => finding.part === part) };
}

describe('changetrail doctor', () => {
  test('sends a test event to each sink and says what came back; one that cannot be asked hides no other', async () => {
    const got: Record<string, unknown>[] = [];
    await using well = await HttpReceiver.start(({ body }) => {
      got.push(...JSON.parse(body.toString('utf8')));
      return { status: 200 };
    });
    await using strict = await HttpReceiver.start(() => ({ status: 401 }));
    await using silent = await startSilent();
    const url = (port: number) => `http://127.0.0.1:${port}/`;
    const { run, of } = await doctor({
      broken: { type: 'http', url: 'https://127.0.0.1:1/', tls: { ca: '/nowhere/ca.pem' } },
      wrong: { type: 'http', url: url(well.port), filter: { when: 'record.kind ==' } },
      hangs: { type: 'http', url: url(silent.port), timeout_ms: 300 },
      hung: { type: 'http', url: url(silent.port), timeout_ms: 600_000 },
      refused: { type: 'http', url: url(strict.port), token: 'a-token-nobody-may-see' },
      gone: { type: 'http', url: 'http://127.0.0.1:1/' },
      well: { type: 'http', url: url(well.port) },
    });
    expect(run.code, run.stderr).toBe(1);
    expect(of('sink well')).toMatchObject([{ level: 'ok', detail: 'The receiver took a test event.' }]);
    expect(got).toMatchObject([{ kind: 'capture', action: 'test', object: { sink: 'well' } }]);
    expect(of('sink broken')).toMatchObject([
      { level: 'error', name: 'AUD_SINK_OPTIONS', detail: expect.stringContaining('tls.ca'), fix: 'Correct tls.ca.' },
    ]);
    expect(of('sink wrong')).toMatchObject([
      { level: 'error', name: 'AUD_SINK_OPTIONS', detail: expect.stringContaining('filter') },
    ]);
    expect(of('sink hangs')).toMatchObject([
      { level: 'error', detail: expect.stringContaining('no answer within 300 ms') },
    ]);
    expect(of('sink hung')).toMatchObject([{ level: 'error', detail: 'No answer within 30 s.' }]);
    expect(of('sink refused')).toMatchObject([{ level: 'error', fix: 'Correct the credentials of the sink.' }]);
    expect(of('sink gone')).toMatchObject([
      { level: 'error', fix: 'Start the receiver, or correct its host and port.' },
    ]);
    expect(of('source shop').some(({ level }) => level === 'error')).toBe(true);
    expect(run.stdout + run.stderr).not.toMatch(/source-secret|a-token-nobody-may-see/);
  });
});

describe('the check of Elasticsearch', () => {
  const check = async (handle: (request: ReceivedRequest) => Reply) => {
    const bulk: string[] = [];
    await using server = await HttpReceiver.start((request) => {
      if (request.url?.endsWith('/_bulk') === true) bulk.push(request.body.toString('utf8'));
      return handle(request);
    });
    const options = elasticsearchOptions.parse({ type: 'elasticsearch', url: `http://127.0.0.1:${server.port}` });
    const sink = createElasticsearchSink(options, { name: 'elastic', log: memoryLog().log, now: Date.now });
    const { items } = await sink.check(AbortSignal.timeout(10_000));
    await sink.close();
    return { items, bulk };
  };
  const version = { status: 200, body: JSON.stringify({ version: { number: '9.1.0' } }) };
  const created = { status: 200, body: JSON.stringify({ errors: false, items: [{ create: { status: 201 } }] }) };

  test('sends a test event where the template is', async () => {
    const { items, bulk } = await check(({ method }) => (method === 'GET' ? version : created));
    expect(items.map(({ level }) => level)).toEqual(['ok', 'ok', 'ok']);
    expect(bulk).toHaveLength(1);
  });

  test('sends none without the template, which would map it by guessing, and names the command that installs it', async () => {
    const { items, bulk } = await check(({ url }) => (url === '/' ? version : { status: 404 }));
    expect(items[1]).toMatchObject({ level: 'warning', fix: 'changetrail setup --sinks --apply' });
    expect(bulk).toEqual([]);
  });

  test('does not take a key that may only write for a wrong one', async () => {
    const { items } = await check(({ method }) => (method === 'GET' ? { status: 403 } : created));
    expect(items.map(({ level }) => level)).toEqual(['ok', 'warning', 'ok']);
    expect(items[1]!.detail).toMatch(/cannot be looked at: HTTP 403/);
  });
});
