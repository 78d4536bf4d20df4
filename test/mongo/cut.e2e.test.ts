// The program ended or stood still in the middle of something, as a process of its own.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Document, MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { dataLayout } from '../../src/ledger/layout.ts';
import type { AuditRecord } from '../../src/record/schema.ts';
import { changesOf, checkLedger, gapsOf, readLedger } from '../e2e/support/ledger-view.ts';
import { TrailProcess } from '../e2e/support/trail-process.ts';
import { FaultProxy, NO_FAULT } from '../support/fault-proxy.ts';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { until } from '../support/wait.ts';
import { rollOplog } from './support/oplog.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const DB = 'shop';
const DOCUMENTS = 400;
/** Bytes a connection of the auditor may receive: a part of the transaction, which is more than two of them could carry. */
const PASSED_BYTES = 200_000;

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);
const numberOf = (record: AuditRecord) => (record.after as { n: number }).n;

function writeConfig(directory: TemporaryDirectory, url: string, more: object = {}): string {
  const file = directory.join('changetrail.yaml');
  const docs = { type: 'mongodb', url, collections: [`${DB}.*`], ...more };
  writeFileSync(file, JSON.stringify({ data: directory.join('data'), sources: { docs } }));
  return file;
}

/** The ordinal in the position file; -1 while none is in a transaction. */
function savedOrdinal(data: string): number {
  const file = readFileSync(join(dataLayout(data).positions, 'docs.json'), 'utf8');
  return (JSON.parse((JSON.parse(file) as { position: string }).position) as { seq: number }).seq;
}

describe.skipIf(await mongoMissing())('MongoDB, cut off', () => {
  const stands: [where: string, reached: (data: string) => boolean][] = [
    ['the ledger’s last record', (data) => changesOf(readLedger(data)).length > 0],
    ['the position file', (data) => savedOrdinal(data) > 0],
  ];

  test.each(stands)(
    'killed between two batches of a transaction, going on from %s: every record has the actor of its context document',
    async (_where, reached) => {
      await using server = await provideMongo({ replicaSet: true, fresh: true });
      await using client = new MongoClient(server.url);
      await using proxy = await FaultProxy.start(server.port);
      await using directory = await temporaryDirectory();
      const data = directory.join('data');
      const db = client.db(DB);
      for (const name of ['a', '_changetrail_context']) await db.createCollection(name);
      const through = `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`;
      const config = writeConfig(directory, through, { batch_size: 20 });
      {
        await using first = TrailProcess.launch(['run', '--config', config]);
        await first.streaming();
        expect(await first.stop(), first.stderr).toMatchObject({ code: 0 });
      }
      await client.withSession((session) =>
        session.withTransaction(async () => {
          await db.collection('_changetrail_context').insertOne({ id: 'alice' }, { session });
          const documents = upTo(DOCUMENTS).map((n) => ({ n, filler: 'x'.repeat(1000) }));
          await db.collection<Document>('a').insertMany(documents, { session });
        }),
      );
      await db.collection('a').insertOne({ n: DOCUMENTS });
      proxy.plan = () => ({ kind: 'hang', direction: 'down', afterBytes: PASSED_BYTES });
      {
        await using killed = TrailProcess.launch(['run', '--config', config]);
        await until(() => reached(data), { what: 'a part of the transaction', timeoutMs: 120_000 });
        await killed.kill9();
      }
      const held = changesOf(readLedger(data)).length;
      expect(held).toBeGreaterThan(0);
      expect(held).toBeLessThan(DOCUMENTS);
      proxy.plan = () => NO_FAULT;
      await using last = TrailProcess.launch(['run', '--config', config]);
      await until(() => changesOf(readLedger(data)).length > DOCUMENTS, {
        what: 'the rest of the transaction',
        timeoutMs: 120_000,
      });
      expect(await last.stop(), last.stderr).toMatchObject({ code: 0 });
      const records = readLedger(data);
      checkLedger(records);
      const changes = changesOf(records);
      expect(changes.map(numberOf)).toEqual(upTo(DOCUMENTS + 1));
      expect(changes.map((r) => r.actor?.id)).toEqual([...upTo(DOCUMENTS).map(() => 'alice'), undefined]);
      expect(changes.map((r) => r.source.seq)).toEqual([...upTo(DOCUMENTS).map((n) => n + 1), 0]);
      expect(gapsOf(records)).toEqual([]);
    },
  );

  test('stopped so long that the oplog overtakes its open cursor (error 136): a gap record, then it goes on', async () => {
    await using server = await provideMongo({ replicaSet: true, fresh: true, oplogSizeMb: 16 });
    await using client = new MongoClient(server.url);
    await using directory = await temporaryDirectory();
    const data = directory.join('data');
    const a = client.db(DB).collection<Document>('a');
    await using trail = TrailProcess.launch(['run', '--config', writeConfig(directory, server.url)]);
    await trail.streaming();
    await a.insertOne({ n: 0 });
    await until(() => changesOf(readLedger(data)).length === 1, { what: 'the first record' });
    trail.child.kill('SIGSTOP');
    await a.insertOne({ n: 1 });
    await rollOplog(client, 16);
    trail.child.kill('SIGCONT');
    const lost = await trail.logged('the loss', (entry) => entry['code'] === 'AUD_MONGO_HISTORY_LOST');
    expect(lost.msg).toContain('CollectionScan died');
    await until(() => gapsOf(readLedger(data)).length > 0, { what: 'the gap record', timeoutMs: 60_000 });
    await trail.streaming(2);
    await a.insertOne({ n: 2 });
    await until(() => changesOf(readLedger(data)).some((r) => numberOf(r) === 2), { what: 'the next record' });
    expect(await trail.stop(), trail.stderr).toMatchObject({ code: 0 });
    const records = readLedger(data);
    checkLedger(records);
    expect(gapsOf(records)).toMatchObject([{ details: { cause: 'oplog_rolled_over' } }]);
    expect(changesOf(records).at(-1)!.after).toMatchObject({ n: 2 });
  });
});
