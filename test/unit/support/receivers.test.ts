import { readFileSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { skippedProviders, UnavailableError } from '../../support/chain.ts';
import { Receiver, receiverMissing } from '../../support/receivers.ts';
import { temporaryDirectory } from '../../support/tmp.ts';

afterEach(() => vi.unstubAllEnvs());

test('a receiver named in the environment is the only one tried', async () => {
  vi.stubEnv('CHANGETRAIL_TEST_RECEIVER_NATS', '/no/such/nats-server');
  const error = await Receiver.start('nats').catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UnavailableError);
  expect((error as UnavailableError).tried).toEqual([
    { way: 'CHANGETRAIL_TEST_RECEIVER_NATS', why: 'there is no /no/such/nats-server' },
  ]);
});

test('a receiver that cannot be had fails with all that was tried, and is skipped and counted only when told', async () => {
  await using dir = await temporaryDirectory();
  vi.stubEnv('RECEIVERS_CACHE', dir.path);
  vi.stubEnv('PATH', '');
  const error = await Receiver.start('s3').catch((reason: unknown) => reason);
  expect((error as UnavailableError).tried.map(({ way }) => way)).toEqual([
    'CHANGETRAIL_TEST_RECEIVER_S3',
    'an installed program',
    'start-s3.sh, which builds it from packages',
  ]);
  expect((error as Error).message).toContain('CHANGETRAIL_SKIP_MISSING_RECEIVERS=1');
  expect(await receiverMissing('s3')).toBe(false);

  vi.stubEnv('CHANGETRAIL_TEST_SKIPPED', dir.join('skipped'));
  vi.stubEnv('CHANGETRAIL_SKIP_MISSING_RECEIVERS', '1');
  expect(await receiverMissing('s3')).toBe(true);
  expect(readFileSync(dir.join('skipped'), 'utf8')).toBe('receiver s3\n');
  expect(skippedProviders()).toEqual(['receiver s3']);
});
