import https from 'node:https';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import {
  GetObjectLockConfigurationCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import type { CheckItem, CheckReport } from '../../core/connector.ts';
import type { Delivery, RecordBatch, Sink, SinkLimits } from '../../core/sink.ts';
import { checkItem, testBatch } from '../shared/check.ts';
import { encodeLines } from '../shared/encode.ts';
import type { SinkHost } from '../shared/host.ts';
import { tlsConnection, VERIFIED } from '../shared/tls.ts';
import { classifyS3Error, isAlreadyThere, isNotImplemented } from './classify.ts';
import { digest, type ManifestEntry, type ObjectPlan, planManifest, planObjects } from './layout.ts';
import type { S3Options } from './options.ts';

const gzip = promisify(zlib.gzip);

const DAY_MS = 86_400_000;
/** Objects on their way at the same time; a batch has as many as it has sources and hours. */
const CONCURRENT_UPLOADS = 4;

/** The answer was a success by its status but not one of S3. */
class NotS3 extends Error {
  override readonly name = 'NotS3';
}

/** @throws AUD_SINK_OPTIONS */
export function createS3Sink(options: S3Options, host: SinkHost): Sink {
  return new S3Sink(options, host);
}

class S3Sink implements Sink {
  readonly limits: SinkLimits;
  readonly #options: S3Options;
  readonly #host: SinkHost;
  readonly #client: S3Client;
  /** Writes only what is not there yet; off for services that do not know it. */
  #conditional = true;

  constructor(options: S3Options, host: SinkHost) {
    this.#options = options;
    this.#host = host;
    this.limits = {
      maxBatchRecords: 200_000,
      maxBatchBytes: options.batch_bytes,
      maxRecordBytes: null,
      maxAgeMs: options.batch_wait_ms,
      maxInFlight: 1,
    };
    this.#client = new S3Client(clientConfig(options, host));
  }

  async check(signal: AbortSignal): Promise<CheckReport> {
    const { bytes } = testBatch(this.#host);
    const key = `${this.#options.prefix}doctor/${encodeURIComponent(this.#host.name)}.json`;
    const answer = await this.#settle(signal, () =>
      this.#put({ Key: key, Body: bytes, ContentType: 'application/json' }, signal),
    );
    const items = [checkItem(`put to bucket ${this.#options.bucket}`, answer)];
    if (this.#options.object_lock !== undefined) items.push(await this.#checkLock(signal));
    return { items };
  }

  async deliver(batch: RecordBatch, signal: AbortSignal): Promise<Delivery> {
    const { format, prefix } = this.#options;
    const plans = planObjects(batch, encodeLines(batch, format), prefix);
    return this.#settle(signal, async () => {
      const entries: ManifestEntry[] = [];
      for (let at = 0; at < plans.length; at += CONCURRENT_UPLOADS) {
        const some = plans.slice(at, at + CONCURRENT_UPLOADS);
        entries.push(...(await Promise.all(some.map((plan) => this.#upload(plan, signal)))));
      }
      const { key, body } = planManifest(entries, this.#host.name, prefix);
      await this.#create({ Key: key, Body: body, ContentType: 'application/json' }, signal);
    });
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  async #settle(signal: AbortSignal, work: () => Promise<unknown>): Promise<Delivery> {
    try {
      await work();
      return { outcome: 'accepted' };
    } catch (error) {
      signal.throwIfAborted();
      return classifyS3Error(error, this.#host.now());
    }
  }

  async #upload(plan: ObjectPlan, signal: AbortSignal): Promise<ManifestEntry> {
    const { bytes, ...rest } = plan;
    const body = await gzip(bytes);
    const storedSha256 = digest(body);
    await this.#create(
      {
        Key: plan.key,
        Body: body,
        ContentType: 'application/gzip',
        ChecksumSHA256: Buffer.from(storedSha256, 'hex').toString('base64'),
        Metadata: {
          first: String(plan.first),
          last: String(plan.last),
          count: String(plan.count),
          sha256: plan.sha256,
        },
      },
      signal,
    );
    return { ...rest, bytes: bytes.length, stored_bytes: body.length, stored_sha256: storedSha256 };
  }

  /** Puts an object whose key names its content, locked, unless it is there. */
  async #create(input: Partial<PutObjectCommandInput> & { Key: string; Body: Buffer }, signal: AbortSignal) {
    const { object_lock: lock } = this.#options;
    const locked =
      lock === undefined
        ? input
        : {
            ...input,
            ObjectLockMode: lock.mode,
            ObjectLockRetainUntilDate: new Date(this.#host.now() + lock.retention_days * DAY_MS),
          };
    try {
      await this.#put(this.#conditional ? { ...locked, IfNoneMatch: '*' } : locked, signal);
    } catch (error) {
      if (this.#conditional && isAlreadyThere(error)) return;
      if (!this.#conditional || !isNotImplemented(error)) throw error;
      this.#conditional = false;
      await this.#put(locked, signal);
    }
  }

  async #put(input: Partial<PutObjectCommandInput> & { Key: string; Body: Buffer }, signal: AbortSignal) {
    const { bucket, storage_class, encryption, kms_key_id, timeout_ms } = this.#options;
    const command = new PutObjectCommand({
      ...input,
      Bucket: bucket,
      ...(storage_class === undefined ? {} : { StorageClass: storage_class as never }),
      ...(encryption === undefined ? {} : { ServerSideEncryption: encryption }),
      ...(kms_key_id === undefined ? {} : { SSEKMSKeyId: kms_key_id }),
    });
    const abortSignal = AbortSignal.any([signal, AbortSignal.timeout(timeout_ms)]);
    const { ETag } = await this.#client.send(command, { abortSignal });
    if (ETag === undefined) throw new NotS3('the answer is not S3’s');
  }

  async #checkLock(signal: AbortSignal): Promise<CheckItem> {
    const name = `object lock of bucket ${this.#options.bucket}`;
    const fix = 'Create a bucket with Object Lock (it cannot be switched off later), or remove object_lock.';
    try {
      const command = new GetObjectLockConfigurationCommand({ Bucket: this.#options.bucket });
      const { ObjectLockConfiguration: found } = await this.#client.send(command, { abortSignal: signal });
      if (found?.ObjectLockEnabled === 'Enabled') return { name, level: 'ok', detail: 'The bucket has Object Lock.' };
      return { name, level: 'error', detail: 'The bucket has no Object Lock: uploads will be refused.', fix };
    } catch (error) {
      signal.throwIfAborted();
      const { reason } = classifyS3Error(error, this.#host.now()) as { reason?: string };
      const absent = reason === 'the bucket has no Object Lock';
      const detail = absent
        ? `It has none: uploads will be refused.`
        : `It cannot be looked at: ${reason ?? 'throttled'}.`;
      return { name, level: absent ? 'error' : 'warning', detail, fix };
    }
  }
}

function clientConfig(options: S3Options, host: SinkHost): S3ClientConfig {
  const { region, endpoint, path_style, access_key_id, secret_access_key, session_token, tls, timeout_ms } = options;
  const credentials =
    access_key_id === undefined || secret_access_key === undefined
      ? undefined
      : {
          accessKeyId: access_key_id,
          secretAccessKey: secret_access_key,
          ...(session_token === undefined ? {} : { sessionToken: session_token }),
        };
  return {
    region,
    forcePathStyle: path_style,
    // Delivery tries again by itself.
    maxAttempts: 1,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials }),
    requestHandler: {
      connectionTimeout: timeout_ms,
      httpsAgent: new https.Agent({ keepAlive: true, ...tlsConnection(tls ?? VERIFIED, host) }),
    },
  };
}
