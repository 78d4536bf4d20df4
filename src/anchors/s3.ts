// Heads as objects under Object Lock: whoever holds the ledger's key and the bucket's cannot take one back.
import type { S3Client } from '@aws-sdk/client-s3';
import { sha256 } from '../ledger/merkle.ts';
import { type Head, parseHead } from '../ledger/note.ts';
import type { Anchor } from './anchor.ts';
import { anchorFailed } from './errors.ts';
import type { S3AnchorOptions } from './options.ts';

type Sdk = typeof import('@aws-sdk/client-s3');

const SIZE_DIGITS = 16;
const HEAD_NAME = /^\d{16}$/;
/** What stores other than AWS expect where no region is named. */
const ANY_REGION = 'us-east-1';
const PRECONDITION_FAILED = 412;

/** Loads the SDK at the first use: it is only there when the operator installed it. */
export function s3Anchor(options: S3AnchorOptions, now: () => number): Anchor {
  const name = `s3 ${options.bucket}/${options.prefix}`;
  let loaded: Promise<{ sdk: Sdk; client: S3Client }> | null = null;
  const use = () => {
    loaded ??= connect(options, name);
    return loaded;
  };

  const folder = (origin: string) =>
    `${options.prefix}${sha256(Buffer.from(origin, 'utf8')).toString('hex', 0, 8)}/heads/`;
  /** Keys sort by size. */
  const keyOf = (origin: string, size: number) => `${folder(origin)}${String(size).padStart(SIZE_DIGITS, '0')}`;

  async function fetchHead(key: string, signal: AbortSignal): Promise<Head> {
    const { sdk, client } = await use();
    const object = await client.send(new sdk.GetObjectCommand({ Bucket: options.bucket, Key: key }), {
      abortSignal: signal,
    });
    return parseHead((await object.Body?.transformToString('utf8')) ?? '');
  }

  /** The largest size among the first heads beyond `after`, and whether there are more. Other objects are passed over. */
  async function headsAfter(origin: string, after: number, signal: AbortSignal) {
    const { sdk, client } = await use();
    const prefix = folder(origin);
    const page = await client.send(
      new sdk.ListObjectsV2Command({ Bucket: options.bucket, Prefix: prefix, StartAfter: keyOf(origin, after) }),
      { abortSignal: signal },
    );
    const names = (page.Contents ?? []).map(({ Key }) => (Key ?? '').slice(prefix.length));
    const sizes = names.filter((name) => HEAD_NAME.test(name)).map(Number);
    const more = page.IsTruncated === true;
    if (more && sizes.length === 0) throw anchorFailed(name, `${prefix} holds too many objects that are no heads`);
    return { largest: sizes.at(-1) ?? null, more };
  }

  /** Size of the newest head. A year has half a million of them: the end is looked for by halving. */
  async function newestSize(origin: string, signal: AbortSignal): Promise<number | null> {
    let low = 0;
    let high = Number.MAX_SAFE_INTEGER;
    for (let middle = 0; ; middle = low + Math.floor((high - low) / 2)) {
      const { largest, more } = await headsAfter(origin, middle, signal);
      if (largest !== null && !more) return largest;
      if (largest !== null) low = largest;
      else if (middle === 0) return null;
      else high = middle;
      if (high <= low) return low;
    }
  }

  return {
    name,
    async latest(ledger, signal) {
      try {
        const size = await newestSize(ledger.origin, signal);
        return size === null ? null : await fetchHead(keyOf(ledger.origin, size), signal);
      } catch (error) {
        throw anchorFailed(name, error);
      }
    },
    async put(head, ledger, signal) {
      try {
        const { sdk, client } = await use();
        const request = new sdk.PutObjectCommand({
          Bucket: options.bucket,
          Key: keyOf(ledger.origin, head.size),
          Body: head.noteText,
          ContentType: 'text/plain; charset=utf-8',
          // A head of this size that is there already is not to be covered by a newer version.
          IfNoneMatch: '*',
          ObjectLockMode: options.mode,
          ObjectLockRetainUntilDate: new Date(now() + options.retain),
        });
        // It may have been out of reach at the start: a store takes any new key, so a rollback is looked for here too.
        const { largest } = await headsAfter(ledger.origin, head.size, signal);
        if (largest !== null) return { answer: 'ahead', size: largest };
        await client.send(request, { abortSignal: signal });
        return { answer: 'held', signatures: [] };
      } catch (error) {
        if (statusOf(error) !== PRECONDITION_FAILED) throw anchorFailed(name, error);
        const held = await fetchHead(keyOf(ledger.origin, head.size), signal).catch((cause) => {
          throw anchorFailed(name, cause);
        });
        if (held.root.equals(head.root)) return { answer: 'held', signatures: [] };
        return { answer: 'fork', size: held.size };
      }
    },
  };
}

async function connect(options: S3AnchorOptions, name: string): Promise<{ sdk: Sdk; client: S3Client }> {
  let sdk: Sdk;
  try {
    sdk = await import('@aws-sdk/client-s3');
  } catch (error) {
    throw anchorFailed(name, error, 'npm install @aws-sdk/client-s3');
  }
  const { endpoint, region, access_key_id: accessKeyId, secret_access_key: secretAccessKey } = options;
  const client = new sdk.S3Client({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true, region: region ?? ANY_REGION }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
  });
  return { sdk, client };
}

function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;
}
