import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory that takes only so many bytes, however that is brought about. */
export interface SmallDisk extends Disposable {
  readonly path: string;
  /** How it was made: a file system in memory (ENOSPC), or a limit on the size of a process's files (EFBIG). */
  readonly kind: 'tmpfs' | 'file size limit';
  /** To be put before the command line of the process that is to run out of space. */
  readonly wrapper: readonly string[];
  /** Makes room. A process that runs meanwhile notices only with `tmpfs`. */
  grow(bytes: number): void;
}

/** Root makes a real file system; without that right the process's files are limited instead. */
export function smallDisk(bytes: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'changetrail-disk-'));
  try {
    const size = (wanted: number) => `size=${Math.ceil(wanted / 1024)}k`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', `${size(bytes)},mode=0777`, 'changetrail-test', path], {
      stdio: 'ignore',
    });
    return {
      path,
      kind: 'tmpfs',
      wrapper: [],
      grow: (more) => void execFileSync('mount', ['-o', `remount,${size(more)}`, path]),
      [Symbol.dispose]() {
        execFileSync('umount', ['-l', path]);
        rmSync(path, { recursive: true });
      },
    };
  } catch {
    return limitedFiles(path, bytes);
  }
}

function limitedFiles(path: string, bytes: number): SmallDisk {
  let blocks = Math.ceil(bytes / 1024);
  return {
    path,
    kind: 'file size limit',
    get wrapper() {
      // The signal must be ignored, or the process ends instead of seeing the error.
      return ['bash', '-c', `trap '' XFSZ; ulimit -f ${blocks}; exec "$@"`, '--'];
    },
    grow(more) {
      blocks = Math.ceil(more / 1024);
    },
    [Symbol.dispose]() {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
