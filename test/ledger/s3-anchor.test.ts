// The S3 anchor against a real store with Object Lock.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { s3AnchorOptions } from '../../src/anchors/options.ts';
import { s3Anchor } from '../../src/anchors/s3.ts';
import { parseHead } from '../../src/ledger/note.ts';
import { Receiver, receiverMissing } from '../support/receivers.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/tmp.ts';
import { codeOfAsync } from '../unit/ledger/codes.ts';
import { checkpointOf, copyOf, openTrail, publicKey, type TestTrail, verify } from './harness.ts';

const missing = await receiverMissing('s3');

const SECRET = 'auditsecret';
const DAY_MS = 86_400_000;

let receiver: Receiver;
let client: S3Client;
let dir: TemporaryDirectory;
let bucket: string;
let buckets = 0;

beforeAll(async () => {
  if (missing) return;
  receiver = await Receiver.start('s3');
  client = new S3Client({
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${receiver.port}`,
    forcePathStyle: true,
    credentials: { accessKeyId: 'audit', secretAccessKey: SECRET },
  });
}, 300_000);

afterAll(() => receiver?.[Symbol.asyncDispose]());

beforeEach(async () => {
  if (missing) return;
  dir = await temporaryDirectory();
  bucket = `heads-${++buckets}`;
  await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }));
  return () => dir[Symbol.asyncDispose]();
});

const anchor = (more: object = {}) => ({
  type: 's3',
  bucket,
  prefix: 'shop/',
  endpoint: `http://127.0.0.1:${receiver.port}`,
  access_key_id: 'audit',
  secret_access_key: SECRET,
  ...more,
});

const open = (data: string, more: object = {}, integrity: object = {}) =>
  openTrail(data, { integrity: { anchors: [anchor(more)], ...integrity } });

/** Appends, gives the head to the anchor, and closes. */
async function grow(data: string, records: number): Promise<void> {
  const trail = await open(data);
  await trail.append(records);
  await trail.integrity.finish();
  await trail.close();
}

async function keys(): Promise<string[]> {
  const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
  return (Contents ?? []).map(({ Key }) => Key!);
}

async function body(key: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  return Buffer.from(await Body!.transformToByteArray());
}

function standing(trail: TestTrail) {
  return trail.integrity.status().anchors[0]!;
}

describe.skipIf(missing)('heads in a bucket with Object Lock', () => {
  test('are put under their size, locked for the time that was asked for, and nobody can take them away', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    const [key, ...others] = await keys();
    expect(others).toEqual([]);
    expect(key).toMatch(/^shop\/[0-9a-f]{16}\/heads\/0{14}21$/);
    expect(await body(key!)).toEqual(checkpointOf(data));
    const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key! }));
    expect(head.ObjectLockMode).toBe('COMPLIANCE');
    const days = (head.ObjectLockRetainUntilDate!.getTime() - Date.now()) / DAY_MS;
    expect(days).toBeGreaterThan(399);
    expect(days).toBeLessThan(401);
    const version = { Bucket: bucket, Key: key!, VersionId: head.VersionId };
    await expect(client.send(new DeleteObjectCommand(version))).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  test('are locked as the options say', async () => {
    const trail = await open(dir.join('data'), { mode: 'GOVERNANCE', retain: '2d' });
    await trail.append(3);
    await trail.integrity.finish();
    await trail.close();
    const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: (await keys())[0]! }));
    expect(head.ObjectLockMode).toBe('GOVERNANCE');
    expect((head.ObjectLockRetainUntilDate!.getTime() - Date.now()) / DAY_MS).toBeCloseTo(2, 1);
  });

  test('are read back at a start, and an auditor verifies with one', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    await grow(data, 10);
    const trail = await open(data);
    expect(standing(trail)).toMatchObject({ size: 32, error: null });
    await trail.close();
    const bytes = await body((await keys()).at(-1)!);
    expect(await verify(data, { keys: [publicKey(data)], heads: [{ name: 's3', bytes }] })).toMatchObject({
      verdict: 'verified',
      outside: [{ size: 32, agrees: true }],
    });
  });

  test('refuse a ledger that was put back', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    const old = copyOf(data, dir.join('old'));
    await grow(data, 20);
    expect(await codeOfAsync(() => open(old))).toBe('AUD_LEDGER_ROLLBACK');
  });

  test('refuse a ledger that was written anew under the same key', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    const rewritten = copyOf(data, dir.join('rewritten'));
    for (const name of ['ledger/tile', 'ledger/checkpoint', 'tree.json']) {
      rmSync(`${rewritten}/${name}`, { recursive: true });
    }
    const segment = `${rewritten}/ledger/segments/0000000000000000.ndjson`;
    writeFileSync(segment, readFileSync(segment, 'utf8').replace('xxx', 'yyy'));
    const { origin } = parseHead(checkpointOf(data));
    expect(await codeOfAsync(() => open(rewritten, {}, { origin }))).toBe('AUD_LEDGER_FORK');
  });

  test('a ledger put back while the store was out of reach is refused at the next head', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    const old = copyOf(data, dir.join('old'));
    await grow(data, 20);
    let trail!: TestTrail;
    await receiver.restart(async () => {
      trail = await open(old);
      expect(standing(trail).error).toContain('failed');
      await trail.append(1);
    });
    expect(await codeOfAsync(() => trail.integrity.finish())).toBe('AUD_LEDGER_ROLLBACK');
    await trail.close();
    expect(await keys()).toHaveLength(2);
  });

  test('the newest of thousands is found, whatever else lies there', async () => {
    const data = dir.join('data');
    await grow(data, 20);
    const [key] = await keys();
    const folder = key!.slice(0, key!.lastIndexOf('/') + 1);
    const files = receiver.path(`s3-${receiver.port}`, 'data', bucket, folder);
    mkdirSync(files, { recursive: true });
    // What a year leaves there: written past the gateway, because 2,400 requests take long.
    for (let size = 22; size < 2422; size++) {
      writeFileSync(`${files}/${String(size).padStart(16, '0')}`, size === 2421 ? checkpointOf(data) : '');
    }
    writeFileSync(`${files}/readme.txt`, 'no head');
    const { origin } = parseHead(checkpointOf(data));
    const held = await s3Anchor(s3AnchorOptions.parse(anchor()), Date.now).latest(
      { origin, keys: () => [], consistency: () => [] },
      AbortSignal.timeout(60_000),
    );
    expect(held?.noteText).toBe(checkpointOf(data).toString('utf8'));
  });
});

describe.skipIf(missing)('a store that does not take heads', () => {
  test('out of reach at a start: said, gone on without, and given the head when it is back', async () => {
    const data = dir.join('data');
    await grow(data, 5);
    let trail!: TestTrail;
    await receiver.restart(async () => {
      trail = await open(data);
      expect(standing(trail)).toMatchObject({
        size: null,
        error: expect.stringContaining(`s3 ${bucket}/shop/ failed`),
      });
      await trail.append(5);
      await trail.integrity.finish();
      expect(standing(trail).error).not.toBeNull();
      expect(trail.ledger.writer.durable.next).toBe(12);
    });
    await trail.append(1);
    await trail.integrity.finish();
    expect(standing(trail)).toMatchObject({ size: 14, error: null });
    await trail.close();
    expect((await keys()).map((key) => Number(key.slice(-16)))).toEqual([6, 14]);
  });

  test('a wrong key is said without the secret', async () => {
    const trail = await open(dir.join('data'), { secret_access_key: 'wrong-secret-of-the-test' });
    await trail.append(1);
    await trail.integrity.finish();
    const { size, error } = standing(trail);
    expect(size).toBeNull();
    expect(error).toMatch(/signature/i);
    expect(error).not.toContain('wrong-secret-of-the-test');
    await trail.close();
    expect(await keys()).toEqual([]);
  });

  test('a bucket that is not there, or has no Object Lock, is said', async () => {
    await client.send(new CreateBucketCommand({ Bucket: `${bucket}-plain` }));
    for (const name of [`${bucket}-plain`, `${bucket}-none`]) {
      const trail = await open(dir.join(name), { bucket: name });
      await trail.append(1);
      await trail.integrity.finish();
      expect(standing(trail), name).toMatchObject({ size: null, error: expect.stringMatching(/bucket|lock/i) });
      await trail.close();
    }
  });
});
