import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

/** A directory of one test's own. Removed when disposed, and at the latest when the process exits. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
  /** A path inside it. */
  join(...parts: string[]): string;
}

const live = new Set<string>();
let hooked = false;

/** Creates an empty directory: `await using dir = await temporaryDirectory()`. `parent`: where, if not in the usual place. */
export async function temporaryDirectory(parent = tmpdir()): Promise<TemporaryDirectory> {
  if (!hooked) {
    hooked = true;
    process.on('exit', () => {
      for (const path of live) rmSync(path, { recursive: true, force: true });
    });
  }
  const path = await mkdtemp(join(parent, 'changetrail-test-'));
  live.add(path);
  return {
    path,
    join: (...parts) => join(path, ...parts),
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      live.delete(path);
    },
  };
}
