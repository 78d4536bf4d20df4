import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import zlib from 'node:zlib';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { classifyS3Error } from '../../src/sinks/s3/classify.ts';
import { planObjects } from '../../src/sinks/s3/layout.ts';
import { s3Options } from '../../src/sinks/s3/options.ts';
import { createS3Sink } from '../../src/sinks/s3/sink.ts';
import { type SinkReceiver, sinkConformance } from '../conformance/sink-suite.ts';
import { batchOf } from '../support/batch.ts';
import { selfSignedCertificate } from '../support/certificate.ts';
import { memoryLog } from '../support/memory-log.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { sampleLines, sampleRecords } from '../support/sample-records.ts';
import { temporaryDirectory } from '../support/tmp.ts';

const KEYS = { access_key_id: 'audit', secret_access_key: 'auditsecret' };
const NOW = Date.now();
const DAY_MS = 86_400_000;

const sinkTo = (port: number, bucket: string, more: object = {}) =>
  createS3Sink(
    s3Options.parse({
      type: 's3',
      bucket,
      endpoint: `http://127.0.0.1:${port}`,
      path_style: true,
      timeout_ms: 20_000,
      batch_wait_ms: 10,
      ...KEYS,
      ...more,
    }),
    { name: 'archive', log: memoryLog().log, now: () => NOW },
  );

/** The test's own view of a bucket. */
class Bucket {
  readonly #client: S3Client;
  readonly #name: string;

  constructor(port: number, name: string) {
    this.#name = name;
    this.#client = new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: KEYS.access_key_id, secretAccessKey: KEYS.secret_access_key },
    });
  }

  async create(lock = false): Promise<void> {
    await this.#client.send(new CreateBucketCommand({ Bucket: this.#name, ObjectLockEnabledForBucket: lock }));
  }

  async keys(): Promise<string[]> {
    const keys: string[] = [];
    for (let token: string | undefined, more = true; more; more = token !== undefined) {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#name, ...(token === undefined ? {} : { ContinuationToken: token }) }),
      );
      keys.push(...(page.Contents ?? []).map(({ Key }) => Key ?? ''));
      token = page.NextContinuationToken;
    }
    return keys;
  }

  async get(key: string): Promise<Buffer> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#name, Key: key }));
    return Buffer.from(await Body!.transformToByteArray());
  }

  head(key: string) {
    return this.#client.send(new HeadObjectCommand({ Bucket: this.#name, Key: key }));
  }

  remove(key: string, VersionId: string | undefined) {
    return this.#client.send(new DeleteObjectCommand({ Bucket: this.#name, Key: key, VersionId }));
  }
}

interface Manifest {
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly objects: readonly {
    readonly key: string;
    readonly source: string;
    readonly hour: string;
    readonly count: number;
    readonly sha256: string;
    readonly stored_sha256: string;
  }[];
}

const isData = (key: string) => key.endsWith('.ndjson.gz');
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function startS3(): Promise<SinkReceiver> {
  const server = await Receiver.start('s3');
  const bucket = new Bucket(server.port, 'audit');
  await bucket.create();
  const seen = new Map<string, string[]>();
  return {
    port: server.port,
    sink: (port) => sinkTo(port, 'audit', port === server.port ? {} : { timeout_ms: 1500 }),
    async ids() {
      const ids: string[] = [];
      for (const key of (await bucket.keys()).filter(isData).toSorted()) {
        if (!seen.has(key)) {
          const lines = zlib
            .gunzipSync(await bucket.get(key))
            .toString()
            .trimEnd()
            .split('\n');
          seen.set(
            key,
            lines.map((line) => JSON.parse(line).id),
          );
        }
        ids.push(...seen.get(key)!);
      }
      return ids;
    },
    restart: (whileDown) => server.restart(whileDown),
    badCredentials: (port) => sinkTo(port, 'audit', { secret_access_key: 'wrong' }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

await sinkConformance({
  name: 's3 (Versity gateway)',
  http: true,
  order: 'ledger',
  duplicates: 'kept',
  needs: 's3',
  start: startS3,
});

test('TLS of the endpoint is verified, against the named authority', async () => {
  await using dir = await temporaryDirectory();
  const { cert, key } = selfSignedCertificate();
  writeFileSync(dir.join('cert'), cert);
  const server = https.createServer({ cert, key }, (request, response) => {
    request.resume().on('end', () => response.writeHead(200, { etag: '"e"' }).end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `https://localhost:${(server.address() as AddressInfo).port}`;
  const answer = async (more: object) => {
    const sink = sinkTo(1, 'bucket', { endpoint, ...more });
    const delivery = await sink.deliver(batchOf(sampleLines().slice(0, 1)), AbortSignal.timeout(10_000));
    await sink.close();
    return delivery;
  };
  expect(await answer({})).toEqual({ outcome: 'unavailable', reason: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  expect(await answer({ tls: { ca: dir.join('cert') } })).toEqual({ outcome: 'accepted' });
  server.closeAllConnections();
  server.close();
});

describe.skipIf(await receiverMissing('s3'))('s3', () => {
  let server: Receiver;
  beforeAll(async () => {
    server = await Receiver.start('s3');
  });
  afterAll(() => server[Symbol.asyncDispose]());
  const within = () => AbortSignal.timeout(20_000);

  test('writes an object a source and hour, and a manifest that names them all with their digests', async () => {
    const bucket = new Bucket(server.port, 'layout');
    await bucket.create();
    const sink = sinkTo(server.port, 'layout', { prefix: 'trail/' });
    const lines = sampleLines();
    expect(await sink.deliver(batchOf(lines), within())).toEqual({ outcome: 'accepted' });
    // The same batch again changes nothing: its keys are its content.
    expect(await sink.deliver(batchOf(lines), within())).toEqual({ outcome: 'accepted' });
    await sink.close();
    const keys = await bucket.keys();
    const manifests = keys.filter((key) => key.startsWith('trail/manifests/dt=2026-11-24/'));
    expect(manifests).toHaveLength(1);
    const manifest = JSON.parse((await bucket.get(manifests[0]!)).toString()) as Manifest;
    expect(manifest).toMatchObject({ v: 1, sink: 'archive', first: 48213, last: 48241, count: lines.length });
    expect(manifest.objects.map(({ source }) => source).toSorted()).toEqual(['changetrail', 'docs', 'shop']);
    expect(keys.filter(isData).toSorted()).toEqual(manifest.objects.map(({ key }) => key).toSorted());
    const stored: string[] = [];
    for (const { key, source, hour, count, ...digests } of manifest.objects) {
      expect(key).toMatch(
        new RegExp(`^trail/${source}/dt=2026-11-24/hour=10/\\d{16}-\\d{16}-[0-9a-f]{16}\\.ndjson\\.gz$`),
      );
      expect(hour).toBe('2026-11-24T10');
      const body = await bucket.get(key);
      const text = zlib.gunzipSync(body);
      expect(digests).toMatchObject({ sha256: sha256(text), stored_sha256: sha256(body) });
      expect((await bucket.head(key)).Metadata).toMatchObject({ sha256: digests.sha256, count: String(count) });
      stored.push(...text.toString().trimEnd().split('\n'));
    }
    expect(stored.toSorted()).toEqual(lines.toSorted());
  });

  test('locks objects and manifests for as long as told', async () => {
    const bucket = new Bucket(server.port, 'locked');
    await bucket.create(true);
    const sink = sinkTo(server.port, 'locked', { object_lock: { mode: 'COMPLIANCE', retention_days: 30 } });
    expect(await sink.deliver(batchOf(sampleLines()), within())).toEqual({ outcome: 'accepted' });
    const report = await sink.check(within());
    expect(report.items.map(({ level }) => level)).toEqual(['ok', 'ok']);
    await sink.close();
    const written = (await bucket.keys()).filter((key) => !key.startsWith('doctor/'));
    expect(written.length).toBe(4);
    for (const key of written) {
      const { ObjectLockMode, ObjectLockRetainUntilDate, VersionId } = await bucket.head(key);
      expect(ObjectLockMode).toBe('COMPLIANCE');
      expect(Math.abs(Number(ObjectLockRetainUntilDate) - (NOW + 30 * DAY_MS))).toBeLessThan(1000);
      await expect(bucket.remove(key, VersionId)).rejects.toThrow();
    }
  });

  test('says that a bucket has no Object Lock or is not there, and keeps the records', async () => {
    const bucket = new Bucket(server.port, 'plain');
    await bucket.create();
    const lock = { object_lock: { mode: 'GOVERNANCE', retention_days: 1 } };
    const batch = batchOf(sampleLines());
    const unlocked = sinkTo(server.port, 'plain', lock);
    expect(await unlocked.deliver(batch, within())).toMatchObject({ outcome: 'unavailable' });
    expect((await unlocked.check(within())).items.at(-1)).toMatchObject({ level: 'error' });
    await unlocked.close();
    const missing = sinkTo(server.port, 'missing');
    expect(await missing.deliver(batch, within())).toEqual({
      outcome: 'unavailable',
      reason: 'the bucket does not exist',
    });
    expect((await missing.check(within())).items[0]).toMatchObject({ level: 'error' });
    await missing.close();
  });

  test('a record goes to the hour it happened in, under a safe key', () => {
    const [record] = sampleRecords() as [ReturnType<typeof sampleRecords>[0]];
    const at = (index: number, time: string, name: string) =>
      JSON.stringify({ ...record, index, time, source: { ...record.source, name } });
    const lines = [
      at(7, '2026-11-24T10:59:59.999999Z', 'a'),
      at(8, '2026-11-24T11:00:00.000000Z', 'a'),
      at(9, '2026-11-24T10:59:59.999Z', 'a'),
      at(10, '2026-11-24T10:00:00.000Z', '../x'),
      at(11, '2026-11-24T10:00:00.000Z', '..'),
      at(12, '2026-11-24T10:00:00.000Z', 'manifests'),
    ];
    const batch = batchOf(lines);
    const plans = planObjects(batch, batch, '');
    expect(plans.map(({ first, last, count }) => [first, last, count])).toEqual([
      [7, 9, 2],
      [8, 8, 1],
      [10, 10, 1],
      [11, 11, 1],
      [12, 12, 1],
    ]);
    const folders = plans.map(({ key }) => key.slice(0, key.lastIndexOf('/')));
    expect(folders).toEqual([
      'a/dt=2026-11-24/hour=10',
      'a/dt=2026-11-24/hour=11',
      '..%2Fx/dt=2026-11-24/hour=10',
      'source=../dt=2026-11-24/hour=10',
      'source=manifests/dt=2026-11-24/hour=10',
    ]);
  });

  test.each([
    [
      { name: 'SlowDown', $metadata: { httpStatusCode: 503 } },
      { outcome: 'throttled', afterMs: null },
    ],
    [{ name: 'EntityTooLarge', $metadata: { httpStatusCode: 400 } }, { outcome: 'too_large' }],
    [
      { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } },
      { outcome: 'unavailable', reason: 'the credentials may not write to the bucket' },
    ],
    [
      { name: 'InternalError', $metadata: { httpStatusCode: 500 } },
      { outcome: 'unavailable', reason: 'HTTP 500: InternalError' },
    ],
    [
      { name: 'Error', code: 'ECONNRESET' },
      { outcome: 'unavailable', reason: 'ECONNRESET' },
    ],
  ])('error %o', (error, answer) => {
    expect(classifyS3Error(error, 0)).toEqual(answer);
  });
});
