// The one place that writes ledger, position and cursor files: what each call promises after a crash is said here.
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';

const datasync = promisify(fs.fdatasync);

function writeError(path: string, doing: string, cause: unknown): AuditError {
  const code = systemCode(cause);
  const hint =
    code === 'ENOSPC'
      ? 'Free disk space, then start again.'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'Make the data directory writable for this user, then start again.'
        : 'Look at the disk, then start again.';
  return new AuditError('AUD_LEDGER_WRITE', {
    message: `Cannot ${doing} ${path}: ${messageOf(cause)}.`,
    action: hint,
    retry: 'after_operator',
    cause,
  });
}

function attempt<T>(path: string, doing: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof AuditError) throw cause;
    throw writeError(path, doing, cause);
  }
}

/** Makes a directory and its parents, each entry synced into its parent. */
export function makeDirectory(path: string): void {
  attempt(path, 'create the directory', () => {
    const first = fs.mkdirSync(path, { recursive: true, mode: 0o750 });
    if (first !== undefined) syncDirectory(dirname(first));
  });
}

/** After it, names created, renamed or removed in the directory survive a crash. */
export function syncDirectory(path: string): void {
  attempt(path, 'sync the directory', () => {
    const fd = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  });
}

/** A file that only grows. Bytes are durable when `sync` resolved after the `write` that put them there. */
export class AppendFile {
  readonly path: string;
  readonly #fd: number;
  #size: number;

  private constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.#fd = fd;
    this.#size = size;
  }

  /** Creates the file, which must not exist; its name is durable on return. */
  static create(path: string): AppendFile {
    const fd = attempt(path, 'create', () => fs.openSync(path, 'wx', 0o640));
    syncDirectory(dirname(path));
    return new AppendFile(path, fd, 0);
  }

  /** Opens an existing file and cuts it to `size` bytes; the cut is durable on return. */
  static open(path: string, size: number): AppendFile {
    return attempt(path, 'open', () => {
      const fd = fs.openSync(path, 'r+');
      if (fs.fstatSync(fd).size !== size) {
        fs.ftruncateSync(fd, size);
        fs.fsyncSync(fd);
      }
      return new AppendFile(path, fd, size);
    });
  }

  /** Bytes written so far, durable or not. */
  get size(): number {
    return this.#size;
  }

  /** Appends all of `bytes` or throws; after a throw the file may hold a part of them behind `size`. */
  write(bytes: Uint8Array): void {
    attempt(this.path, 'write', () => {
      for (let done = 0; done < bytes.length; ) {
        done += fs.writeSync(this.#fd, bytes, done, bytes.length - done, this.#size + done);
      }
      this.#size += bytes.length;
    });
  }

  /** Resolves once everything written before the call is on the disk. */
  async sync(): Promise<void> {
    try {
      await datasync(this.#fd);
    } catch (cause) {
      throw writeError(this.path, 'sync', cause);
    }
  }

  /** As `sync`, holding the thread. Large groups are faster so (bench/RESULTS.md). */
  syncNow(): void {
    attempt(this.path, 'sync', () => fs.fdatasyncSync(this.#fd));
  }

  /** Takes back bytes that were written behind `size`. */
  truncate(size: number): void {
    attempt(this.path, 'cut', () => fs.ftruncateSync(this.#fd, size));
    this.#size = size;
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/**
 * Replaces a small file whole: after a crash it holds the old or the new content, never a mixture. Durable on return.
 * The temporary name is beside it, so only one writer a path.
 */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o640): void {
  attempt(path, 'write', () => {
    const temporary = join(dirname(path), `.${basename(path)}.${Math.trunc(process.pid)}.tmp`);
    const fd = fs.openSync(temporary, 'w', mode);
    try {
      fs.writeFileSync(fd, content);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, path);
    syncDirectory(dirname(path));
  });
}

/** Removes a file; durable on return. A file that is not there is no error. */
export function removeFile(path: string): void {
  attempt(path, 'remove', () => {
    fs.rmSync(path, { force: true });
    syncDirectory(dirname(path));
  });
}
