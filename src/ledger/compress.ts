// Closed segments as zstd: written beside the plain one, read back, then put in its place.

import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { AuditError } from '../errors/audit-error.ts';
import { AppendFile, discardFile, moveFile, removeFile } from './file-ops.ts';
import type { Segment } from './layout.ts';
import { COMPRESSED, readLines } from './lines.ts';
import { FRAME_BYTES, FRAME_OPTIONS, type Frame, seekTable } from './seekable.ts';

const compress = promisify(zstdCompress);

/**
 * Compresses a closed segment, a block at a time so that capture goes on meanwhile, and removes the plain one once the
 * compressed one reads the same. After a crash at any point the plain one is still there, or the compressed one is whole.
 * @throws AUD_LEDGER_WRITE
 */
export async function compressSegment({ path }: Segment): Promise<void> {
  const target = `${path}${COMPRESSED}`;
  const temporary = `${target}.tmp`;
  discardFile(temporary);
  const plain = createHash('sha256');
  const out = AppendFile.create(temporary);
  try {
    const frames: Frame[] = [];
    let size = 0;
    for (const { bytes, offset } of readLines(path, 0, { blockBytes: FRAME_BYTES })) {
      plain.update(bytes);
      const frame = await compress(bytes, FRAME_OPTIONS);
      frames.push({ at: out.size, length: frame.length, offset, size: bytes.length });
      out.write(frame);
      size += bytes.length;
    }
    out.write(seekTable(frames));
    await out.sync();
    await checkCopy(temporary, plain.digest('hex'), size);
  } finally {
    out.close();
  }
  moveFile(temporary, target);
  removeFile(path);
}

async function checkCopy(path: string, digest: string, size: number): Promise<void> {
  const copy = createHash('sha256');
  let length = 0;
  for (const { bytes } of readLines(path, 0, { reuse: true })) {
    copy.update(bytes);
    length += bytes.length;
    // Others have their turn between blocks.
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (copy.digest('hex') !== digest || length !== size) {
    throw new AuditError('AUD_LEDGER_WRITE', {
      message: `${path} does not decompress to what was compressed; the plain segment was kept.`,
      action: 'Look at the disk.',
      retry: 'after_operator',
    });
  }
}
