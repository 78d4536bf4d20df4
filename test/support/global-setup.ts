import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { skippedProviders } from './chain.ts';
import { prepareDatabases } from './provide.ts';

/** vitest's global setup: fetches what tests will start, and gathers from all workers which servers were skipped. */
export async function setup(): Promise<void> {
  const list = join(mkdtempSync(join(tmpdir(), 'changetrail-run-')), 'skipped');
  writeFileSync(list, '');
  process.env['CHANGETRAIL_TEST_SKIPPED'] = list;
  // Outside the time limits of tests, for a first download may take minutes. Unit tests need no database.
  const paths = process.argv.slice(2).filter((argument) => argument.includes('test/'));
  const onlyUnits = paths.length > 0 && paths.every((path) => path.includes('test/unit'));
  if (!onlyUnits) await prepareDatabases();
}

/** vitest's global teardown: says in one line which servers were skipped, so that a green run cannot hide it. */
export function teardown(): void {
  const list = process.env['CHANGETRAIL_TEST_SKIPPED'];
  if (!list) return;
  const skipped = skippedProviders();
  if (skipped.length > 0) console.log(`\nSkipped for want of a server (${skipped.length}): ${skipped.join(', ')}`);
  rmSync(join(list, '..'), { recursive: true, force: true });
}
