import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NatsFailure, natsDelivery } from '../../src/sinks/nats/classify.ts';
import { natsEncoder } from '../../src/sinks/nats/encode.ts';
import { sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { selfSignedCertificate } from '../support/certificate.ts';
import { manager, messagesOf, NATS_CONFIG, optionsFor, sinkTo, startNats } from '../support/nats.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { sampleLines, sampleRecords } from '../support/sample-records.ts';
import { temporaryDirectory } from '../support/tmp.ts';

await sinkConformance({
  name: 'nats (JetStream)',
  order: 'ledger',
  duplicates: 'dropped',
  needs: 'nats',
  start: startNats,
});

describe.skipIf(await receiverMissing('nats'))('nats', () => {
  let server: Receiver;
  beforeAll(async () => {
    server = await Receiver.start('nats', { env: { NATS_CONFIG } });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  const within = () => AbortSignal.timeout(10_000);

  test('fills the subject in, and sends id, kind and index as headers and the line as it stands', async () => {
    await using own = await manager(server.port);
    await own.jsm.streams.add({ name: 'OBJECTS', subjects: ['objects.>'] });
    const sink = sinkTo(server.port, { subject: 'objects.{source}.{kind}.{action}.{object}', stream: 'OBJECTS' });
    const lines = sampleLines();
    expect(await sink.deliver(batchOf(lines), within())).toEqual({ outcome: 'accepted' });
    await sink.close();
    const stored = await messagesOf(server.port, 'OBJECTS');
    expect(stored.map(({ text }) => text)).toEqual(lines);
    expect(stored.map(({ id }) => id)).toEqual(sampleRecords().map(({ id }) => id));
    expect(stored[0]).toMatchObject({
      subject: 'objects.shop.change.insert.public.users',
      kind: 'change',
      index: '48213',
    });
    expect(stored.find(({ kind }) => kind === 'head')?.subject).toBe('objects.changetrail.head.publish.-');
  });

  test('waits while no stream holds the subject, or another than the named one', async () => {
    const nowhere = sinkTo(server.port, { subject: 'nowhere.{kind}' });
    const batch = batchOf(sampleLines().slice(0, 2));
    expect(await nowhere.deliver(batch, within())).toEqual({
      outcome: 'unavailable',
      reason: 'no stream holds the subject',
    });
    await nowhere.close();
    await using own = await manager(server.port);
    await own.jsm.streams.add({ name: 'OTHER', subjects: ['other.>'] });
    const sink = sinkTo(server.port, { subject: 'other.{kind}', stream: 'AUDIT' });
    expect(await sink.deliver(batch, within())).toMatchObject({ outcome: 'unavailable' });
    await sink.close();
    expect(await messagesOf(server.port, 'OTHER')).toEqual([]);
  });

  test('a stream’s own limit on messages is found by halving', async () => {
    await using own = await manager(server.port);
    await own.jsm.streams.add({ name: 'SMALL', subjects: ['small.>'], max_msg_size: 700 });
    const sink = sinkTo(server.port, { subject: 'small.{kind}' });
    const lines = sampleLines();
    const answer = await sink.deliver(batchOf(lines), within());
    expect(answer).toEqual({ outcome: 'too_large' });
    const short = lines.filter((line) => line.length < 500);
    expect(await sink.deliver(batchOf(short), within())).toEqual({ outcome: 'accepted' });
    await sink.close();
  });

  test('a full stream is waited for', async () => {
    await using own = await manager(server.port);
    await own.jsm.streams.add({ name: 'FULL', subjects: ['full.>'], max_msgs: 3, discard: 'new' });
    const sink = sinkTo(server.port, { subject: 'full.{kind}' });
    const answer = await sink.deliver(batchOf(sampleLines().slice(0, 5)), within());
    expect(answer).toMatchObject({
      outcome: 'partial',
      failed: [
        { at: 3, retry: true },
        { at: 4, retry: true },
      ],
    });
    await sink.close();
  });

  test('names of tables cannot break out of the subject', () => {
    const [record] = sampleRecords() as [ReturnType<typeof sampleRecords>[0]];
    const encode = natsEncoder(optionsFor(1, { subject: 'a.{source}.{object}' }));
    const hostile = { ...record, source: { ...record.source, name: 'x.>' }, object: { schema: 'a b', table: '*.>' } };
    expect(encode(batchOf([JSON.stringify(hostile)])).map(({ subject }) => subject)).toEqual(['a.x__.a_b._._']);
  });

  test('TLS is verified, against the named authority', async () => {
    await using dir = await temporaryDirectory();
    const { cert, key } = selfSignedCertificate();
    for (const [name, text] of Object.entries({ cert, key })) writeFileSync(dir.join(name), text);
    const tls = `tls { cert_file: "${dir.join('cert')}", key_file: "${dir.join('key')}" }`;
    await using secured = await Receiver.start('nats', { env: { NATS_CONFIG: `${NATS_CONFIG}\n${tls}` } });
    const answer = async (more: object) => {
      const sink = sinkTo(secured.port, more);
      const delivery = await sink.deliver(batchOf(sampleLines().slice(0, 1)), within());
      await sink.close();
      return delivery;
    };
    // No stream holds the subject: as far as that it comes only over a connection that it trusts.
    expect(await answer({ tls: { ca: dir.join('cert') } })).toMatchObject({ reason: 'no stream holds the subject' });
    expect(await answer({ tls: {} })).toMatchObject({ reason: expect.stringMatching(/SELF_SIGNED/) });
    expect(await answer({})).toMatchObject({ reason: expect.stringMatching(/SELF_SIGNED/) });
    // A server without TLS is not spoken to where TLS was asked for.
    const plain = sinkTo(server.port, { tls: {} });
    expect(await plain.deliver(batchOf(sampleLines().slice(0, 1)), within())).toMatchObject({ outcome: 'unavailable' });
    await plain.close();
  });

  test('failures of a batch become one answer', () => {
    const retry: NatsFailure = { what: 'retry', reason: 'x', lost: false };
    const refused: NatsFailure = { what: 'refused', reason: 'y', lost: false };
    expect(natsDelivery(2, new Map())).toEqual({ outcome: 'accepted' });
    expect(
      natsDelivery(
        2,
        new Map([
          [0, retry],
          [1, retry],
        ]),
      ),
    ).toEqual({ outcome: 'unavailable', reason: 'x' });
    expect(
      natsDelivery(
        2,
        new Map([
          [0, retry],
          [1, refused],
        ]),
      ),
    ).toMatchObject({
      outcome: 'partial',
      failed: [
        { at: 0, retry: true },
        { at: 1, retry: false },
      ],
    });
  });
});
