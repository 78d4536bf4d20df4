import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Tests wait for databases more than they compute: more workers than cores fill the waits.
    maxWorkers: 4,
    // Real servers are killed, cut off and filled up here, and a shared machine is slow at times. A test that needed a second
    // try is named in the report; on a developer's machine it fails.
    retry: process.env['CI'] ? 1 : 0,
    testTimeout: 60_000,
    // The first run of all builds the receivers of the sinks, one after the other: whoever is last waits for all.
    hookTimeout: 900_000,
  },
});
