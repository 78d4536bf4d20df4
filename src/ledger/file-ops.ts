// The one place that writes ledger, position and cursor files: what each call promises after a crash is said here.
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { AuditError, messageOf, systemCode } from '../errors/audit-error.ts';

const datasync = promisify(fs.fdatasync);

/** The kinds of file operation a test can make fail. */
export type FileOperation =
  | 'mkdir'
  | 'create'
  | 'open'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'rename'
  | 'remove'
  | 'sync_directory';

/** Called before each operation; a throw is the operation's failure. For `write` a number is how much still gets written. */
export type FaultPoint = (operation: FileOperation, path: string) => number | undefined;

let faultPoint: FaultPoint | null = null;

/** For tests: makes file operations fail. Null, as always in production, costs one comparison an operation. */
export function setFaultPoint(point: FaultPoint | null): void {
  faultPoint = point;
}

/** A disk that is full in the middle of a write. */
function writeSome(fd: number, bytes: Uint8Array, at: number, some: number): never {
  fs.writeSync(fd, bytes, 0, Math.min(some, bytes.length), at);
  throw Object.assign(new RangeError('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
}

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

/** Makes a directory and its parents, not durable yet; returns those that were made, the outermost last. */
export function makeDirectoryLater(path: string, mode = 0o750): string[] {
  return attempt(path, 'create the directory', () => {
    if (fs.existsSync(path)) return [];
    faultPoint?.('mkdir', path);
    const first = fs.mkdirSync(path, { recursive: true, mode });
    const all: string[] = [];
    for (let made = path; first !== undefined; made = dirname(made)) {
      all.push(made);
      if (made === first) break;
    }
    return all;
  });
}

/** Makes a directory and its parents, each name durable on return. */
export function makeDirectory(path: string, mode = 0o750): void {
  for (const made of makeDirectoryLater(path, mode)) syncDirectory(dirname(made));
}

/** After it, names created, renamed or removed in the directory survive a crash. */
export function syncDirectory(path: string): void {
  attempt(path, 'sync the directory', () => {
    faultPoint?.('sync_directory', path);
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
    const fd = attempt(path, 'create', () => {
      faultPoint?.('create', path);
      return fs.openSync(path, 'wx', 0o640);
    });
    try {
      syncDirectory(dirname(path));
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    return new AppendFile(path, fd, 0);
  }

  /** Opens an existing file and cuts it to `size` bytes; the cut, the content and the name are durable on return. */
  static open(path: string, size: number): AppendFile {
    const fd = attempt(path, 'open', () => {
      faultPoint?.('open', path);
      return fs.openSync(path, 'r+');
    });
    try {
      attempt(path, 'make durable', () => {
        if (fs.fstatSync(fd).size !== size) {
          faultPoint?.('truncate', path);
          fs.ftruncateSync(fd, size);
        }
        rewriteEnd(fd, size);
        faultPoint?.('sync', path);
        fs.fsyncSync(fd);
        syncDirectory(dirname(path));
      });
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    return new AppendFile(path, fd, size);
  }

  /** Bytes written so far, durable or not. */
  get size(): number {
    return this.#size;
  }

  /** Appends all of `bytes` or throws; after a throw the file may hold a part of them behind `size`. */
  write(bytes: Uint8Array): void {
    attempt(this.path, 'write', () => {
      const some = faultPoint?.('write', this.path);
      if (some !== undefined) writeSome(this.#fd, bytes, this.#size, some);
      for (let done = 0; done < bytes.length; ) {
        done += fs.writeSync(this.#fd, bytes, done, bytes.length - done, this.#size + done);
      }
      this.#size += bytes.length;
    });
  }

  /** Resolves once everything written before the call is on the disk. */
  async sync(): Promise<void> {
    try {
      faultPoint?.('sync', this.path);
      await datasync(this.#fd);
    } catch (cause) {
      throw writeError(this.path, 'sync', cause);
    }
  }

  /** As `sync`, holding the thread. Large groups are faster so (bench/RESULTS.md). */
  syncNow(): void {
    attempt(this.path, 'sync', () => {
      faultPoint?.('sync', this.path);
      fs.fdatasyncSync(this.#fd);
    });
  }

  /** Takes back bytes that were written behind `size`. */
  truncate(size: number): void {
    attempt(this.path, 'cut', () => {
      faultPoint?.('truncate', this.path);
      fs.ftruncateSync(this.#fd, size);
    });
    this.#size = size;
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/** More than a writer ever has waiting for the disk. */
const REWRITE_BYTES = 32 << 20;

/**
 * Writes the last bytes of a file over themselves. After a sync that failed, Linux takes pages for clean that never reached
 * the disk, and a later sync says nothing of them: only written again are they synced again.
 */
function rewriteEnd(fd: number, size: number): void {
  const block = Buffer.allocUnsafe(Math.min(1 << 20, size));
  for (let at = Math.max(0, size - REWRITE_BYTES); at < size; ) {
    const got = fs.readSync(fd, block, 0, Math.min(block.length, size - at), at);
    if (got === 0) return;
    for (let done = 0; done < got; ) done += fs.writeSync(fd, block, done, got - done, at + done);
    at += got;
  }
}

/**
 * Replaces a small file whole: after a crash it holds the old or the new content, never a mixture. Durable on return.
 * The temporary name is beside it, so only one writer a path.
 */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o640): void {
  const temporary = writeTemporary(path, content, mode, true);
  moveFile(temporary, path);
}

/**
 * Makes a small file, durable only after `syncFile` and a sync of the directory. A new name is written in its place, and a
 * crash may leave a part of it there; one that exists is replaced whole, so that a reader sees the old or the new content.
 * For files that can be made again and that nobody reads before something durable says that they are whole.
 */
export function createFileLater(path: string, content: Uint8Array): void {
  const fd = attempt(path, 'create', () => {
    faultPoint?.('create', path);
    try {
      return fs.openSync(path, 'wx', 0o640);
    } catch (cause) {
      if (systemCode(cause) === 'EEXIST') return null;
      throw cause;
    }
  });
  if (fd !== null) {
    attempt(path, 'write', () => writeAndClose(fd, path, content, false));
    return;
  }
  const temporary = writeTemporary(path, content, 0o640, false);
  rename(temporary, path);
}

function rename(from: string, to: string): void {
  attempt(to, 'rename', () => {
    faultPoint?.('rename', to);
    fs.renameSync(from, to);
  });
}

function writeTemporary(path: string, content: string | Uint8Array, mode: number, sync: boolean): string {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
  return attempt(path, 'write', () => {
    faultPoint?.('create', path);
    writeAndClose(fs.openSync(temporary, 'w', mode), path, bytes, sync);
    return temporary;
  });
}

function writeAndClose(fd: number, path: string, bytes: Uint8Array, sync: boolean): void {
  try {
    const some = faultPoint?.('write', path);
    if (some !== undefined) writeSome(fd, bytes, 0, some);
    fs.writeFileSync(fd, bytes);
    if (sync) {
      faultPoint?.('sync', path);
      fs.fsyncSync(fd);
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** Gives a file or directory another name in the same file system; durable on return. */
export function moveFile(from: string, to: string): void {
  rename(from, to);
  syncDirectory(dirname(to));
  if (dirname(from) !== dirname(to)) syncDirectory(dirname(from));
}

/** Makes a file's content durable. Its name is durable after a sync of the directory. */
export function syncFile(path: string): void {
  attempt(path, 'sync', () => {
    const fd = fs.openSync(path, 'r');
    try {
      faultPoint?.('sync', path);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  });
}

/** Removes a file, or a directory with all in it; durable on return. What is not there is no error. */
export function removeFile(path: string): void {
  attempt(path, 'remove', () => {
    faultPoint?.('remove', path);
    fs.rmSync(path, { force: true, recursive: true });
    syncDirectory(dirname(path));
  });
}

/** Removes what has become superfluous; a crash may bring it back. */
export function discardFile(path: string): void {
  if (!fs.existsSync(path)) return;
  attempt(path, 'remove', () => {
    faultPoint?.('remove', path);
    fs.rmSync(path, { force: true, recursive: true });
  });
}
