import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AuditError } from '../../src/errors/audit-error.ts';
import { octetCounted, syslogEncoder } from '../../src/sinks/syslog/encode.ts';
import { syslogOptions } from '../../src/sinks/syslog/options.ts';
import { RelpError, readFrame } from '../../src/sinks/syslog/relp.ts';
import { createSyslogSink, syslogDelivery } from '../../src/sinks/syslog/sink.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { LyingServer } from '../support/lying-server.ts';
import { memoryLog } from '../support/memory-log.ts';
import { freePort } from '../support/ports.ts';
import { Receiver, receiverMissing, type Tail } from '../support/receivers.ts';
import { sampleLines, sampleRecords } from '../support/sample-records.ts';
import { until } from '../support/wait.ts';

type Transport = 'tcp' | 'tls' | 'relp' | 'relp_tls';

interface Received {
  readonly pri: string;
  readonly ts: string;
  readonly app: string;
  readonly msgid: string;
  readonly sd: string;
  readonly msg: string;
  readonly raw: string;
}

const sinkTo = (port: number, transport: Transport, more: object = {}) =>
  createSyslogSink(
    syslogOptions.parse({
      type: 'syslog',
      host: '127.0.0.1',
      port,
      transport,
      timeout_ms: 20_000,
      max_message_bytes: 65_536,
      ...more,
    }),
    { name: 'syslog', log: memoryLog().log, now: Date.now },
  );

/** rsyslog with a port a transport; what it got stands in a file. */
class Rsyslog implements AsyncDisposable {
  readonly receiver: Receiver;
  readonly ports: Readonly<Record<Transport, number>>;
  readonly #file: Tail<Received>;

  private constructor(receiver: Receiver, ports: Readonly<Record<Transport, number>>) {
    this.receiver = receiver;
    this.ports = ports;
    this.#file = receiver.tail((line) => JSON.parse(line) as Received, `rsyslog-${ports.tcp}`, 'out.json');
  }

  static async start(env: Record<string, string> = {}): Promise<Rsyslog> {
    const [tcp, tls, relp, relpTls] = [await freePort(), await freePort(), await freePort(), await freePort()];
    const receiver = await Receiver.start('rsyslog', { args: [tls, relp, relpTls].map(String), env }, tcp);
    return new Rsyslog(receiver, { tcp, tls, relp, relp_tls: relpTls });
  }

  received(): readonly Received[] {
    return this.#file.entries();
  }

  /** Trust in its throwaway CA, with its client certificate. */
  get tls(): object {
    const file = (name: string) => this.receiver.path('pki', name);
    return { tls: { ca: file('ca.crt'), cert: file('client.crt'), key: file('client.key'), server_name: 'localhost' } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.receiver[Symbol.asyncDispose]();
  }
}

async function startRsyslog(transport: Transport): Promise<SinkReceiver> {
  const server = await Rsyslog.start();
  const more = transport.endsWith('tls') ? server.tls : {};
  return {
    port: server.ports[transport],
    // Behind a proxy that stalls a request is soon given up; before the receiver itself, no slow machine makes it so.
    sink: (port) => sinkTo(port, transport, port === server.ports[transport] ? more : { ...more, timeout_ms: 1500 }),
    ids: async () => server.received().map(({ sd }) => /(?<= id=")[^"]*/.exec(sd)?.[0] ?? ''),
    restart: (whileDown) => server.receiver.restart(whileDown),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

for (const transport of ['tcp', 'tls', 'relp', 'relp_tls'] as const) {
  const start = () => startRsyslog(transport);
  // Without TLS the end of a connection is nobody's word: a proxy on the way can read everything and give it.
  const acknowledged = transport !== 'tcp';
  await sinkConformance({
    name: `syslog ${transport} (rsyslog)`,
    order: 'ledger',
    duplicates: 'kept',
    acknowledged,
    needs: 'rsyslog',
    start,
  });
}

describe.skipIf(await receiverMissing('rsyslog'))('what rsyslog gets', () => {
  let server: Rsyslog;
  beforeAll(async () => {
    server = await Rsyslog.start({ RSYSLOG_CLIENT_CERT: '1' });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  const within = () => AbortSignal.timeout(20_000);

  test.each(['tcp', 'tls', 'relp', 'relp_tls'] as const)(
    'over %s: the record as it stands, and what is in the header',
    async (transport) => {
      const from = server.received().length;
      const sink = sinkTo(server.ports[transport], transport, transport.endsWith('tls') ? server.tls : {});
      const lines = sampleLines();
      expect(await sink.deliver(batchOf(lines), within())).toEqual({ outcome: 'accepted' });
      await sink.close();
      await until(() => server.received().length === from + lines.length, { what: 'all messages' });
      const got = server.received().slice(from);
      expect(got.map(({ msg }) => msg.trimStart())).toEqual(lines);
      // Facility 13 (audit), severity 6 (informational); microseconds kept.
      expect(got[0]).toMatchObject({
        pri: '110',
        ts: '2026-11-24T10:00:00.123456Z',
        app: 'changetrail',
        msgid: 'change',
      });
      expect(got[0]?.sd).toBe(
        '[changetrail@32473 id="shop:0/1A2B3C8:0" index="48213" source="shop" action="insert" object="public.users" actor="alice@example.com" assurance="claimed" outcome="success"]',
      );
      expect(got.find(({ msgid }) => msgid === 'gap')?.pri).toBe('107');
    },
  );

  test('without confirmation the connection is kept', async () => {
    const from = server.received().length;
    const sink = sinkTo(server.ports.tcp, 'tcp', { confirm: 'none' });
    const lines = sampleLines();
    for (const line of lines) expect(await sink.deliver(batchOf([line]), within())).toEqual({ outcome: 'accepted' });
    await sink.close();
    await until(() => server.received().length === from + lines.length, { what: 'all messages' });
    const got = server.received().slice(from);
    expect(got.map(({ msg }) => msg.trimStart())).toEqual(lines);
  });

  test('a certificate that is not trusted, or the lack of our own, is said and nothing is sent', async () => {
    const from = server.received().length;
    const [line] = sampleLines() as [string];
    const untrusted = sinkTo(server.ports.tls, 'tls', { tls: {} });
    expect(await untrusted.deliver(batchOf([line]), within())).toMatchObject({
      outcome: 'unavailable',
      reason: expect.stringMatching(/^TLS: /),
    });
    const file = (name: string) => server.receiver.path('pki', name);
    const anonymous = sinkTo(server.ports.tls, 'tls', { tls: { ca: file('ca.crt'), server_name: 'localhost' } });
    expect(await anonymous.deliver(batchOf([line]), within())).toMatchObject({ outcome: 'unavailable' });
    await untrusted.close();
    await anonymous.close();
    expect(server.received().length).toBe(from);
  });

  test('a certificate file that is not there is a mistake in the options', () => {
    expect(() => sinkTo(1, 'tls', { tls: { ca: '/nowhere.pem' } })).toThrow(AuditError);
  });
});

describe('syslog messages', () => {
  const encode = (more: object = {}) =>
    syslogEncoder(syslogOptions.parse({ type: 'syslog', host: 'h', hostname: 'me', ...more }));
  const [record] = sampleRecords() as [ReturnType<typeof sampleRecords>[0]];

  test('escape what means something in structured data', () => {
    const hostile = { ...record, id: 'a"b\\c]d', actor: { assurance: 'claimed', id: 'ü"]' } };
    const [message] = encode()(batchOf([JSON.stringify(hostile)]));
    expect(message?.toString()).toContain('[changetrail@32473 id="a\\"b\\\\c\\]d" ');
    expect(message?.toString()).toContain(' actor="ü\\"\\]" ');
  });

  test('are counted in octets, not characters', () => {
    expect(octetCounted([Buffer.from('ü')]).toString()).toBe('2 ü');
    expect(octetCounted([Buffer.from('a'), Buffer.from('bc')]).toString()).toBe('1 a2 bc');
  });

  test('too large for the receiver are not sent', async () => {
    const sink = sinkTo(1, 'tcp', { max_message_bytes: 2048 });
    const large = JSON.stringify({ ...record, after: { text: 'x'.repeat(3000) } });
    expect(await sink.deliver(batchOf([large]), AbortSignal.timeout(1000))).toEqual({ outcome: 'too_large' });
    await sink.close();
  });
});

describe('a transport without acknowledgement', () => {
  const started = async (more: object) => {
    await using server = await LyingServer.start();
    server.lie = { name: 'reads to the end, says nothing', bytes: '', close: true };
    const logs = memoryLog();
    const options = { type: 'syslog', host: '127.0.0.1', port: server.port, timeout_ms: 5000, ...more };
    const sink = createSyslogSink(syslogOptions.parse(options), { name: 'syslog', log: logs.log, now: Date.now });
    const { items } = await sink.check(AbortSignal.timeout(10_000));
    const saidByCheck = logs.count('sink_without_acknowledgement');
    for (let n = 0; n < 3; n++) await sink.deliver(batchOf(sampleLines().slice(0, 2)), AbortSignal.timeout(10_000));
    await sink.close();
    const doubts = items.filter(({ name }) => name === 'acknowledgement');
    return { doubts, saidByCheck, said: logs.count('sink_without_acknowledgement') };
  };

  test.each([
    [{ transport: 'tcp' }, /not that it kept it/],
    [{ transport: 'tcp', confirm: 'none' }, /on the way when a connection breaks/],
  ])('%j is named by doctor, and once by run', async (options, detail) => {
    const { doubts, saidByCheck, said } = await started(options);
    expect(doubts).toEqual([
      { name: 'acknowledgement', level: 'warning', detail: expect.stringMatching(detail), fix: expect.any(String) },
    ]);
    expect([saidByCheck, said]).toEqual([0, 1]);
  });

  test.each(['tcp', 'relp'])('over %s, a receiver that cannot be reached is given up when told', async (transport) => {
    // An address of the documentation: packets to it go nowhere, or the system says at once that there is no way.
    const sink = createSyslogSink(
      syslogOptions.parse({ type: 'syslog', host: '192.0.2.1', transport, confirm: 'none', timeout_ms: 300 }),
      { name: 'syslog', log: memoryLog().log, now: Date.now },
    );
    const answer = await sink.deliver(batchOf(sampleLines()), AbortSignal.timeout(20_000));
    expect(answer.outcome).toBe('unavailable');
    await sink.close();
  });

  test('is not RELP', async () => {
    expect(await started({ transport: 'relp' })).toEqual({ doubts: [], saidByCheck: 0, said: 0 });
  });
});

describe('RELP', () => {
  test('frames are read however they are cut', () => {
    const bytes = Buffer.from('1 rsp 6 200 OK\n12 rsp 0\n3 serverclose 0\n');
    for (let cut = 0; cut < 15; cut++) expect(readFrame(bytes.subarray(0, cut)), String(cut)).toBeNull();
    expect(readFrame(bytes)).toEqual({ frame: { transaction: 1, command: 'rsp', data: '200 OK' }, length: 15 });
    expect(readFrame(bytes.subarray(15))).toEqual({ frame: { transaction: 12, command: 'rsp', data: '' }, length: 9 });
  });

  test.each(['HTTP/1.1 200 OK\r\n', '\0\x01', '1 rsp 6 200 OKx', '1  rsp', '1 rsp 3\n', '1 rsp 99999999 x'])(
    'what is not RELP is refused: %j',
    (text) => {
      expect(() => readFrame(Buffer.from(text))).toThrow(RelpError);
    },
  );

  test('a message that is not taken is sent again, the others are not', () => {
    expect(syslogDelivery([{ code: 200 }, { code: 200 }])).toEqual({ outcome: 'accepted' });
    expect(syslogDelivery([{ code: 200 }, { code: 500 }])).toEqual({
      outcome: 'partial',
      failed: [{ at: 1, retry: true, reason: 'relp_500' }],
    });
    expect(syslogDelivery([{ code: 500 }])).toEqual({ outcome: 'unavailable', reason: 'relp_500' });
  });
});
