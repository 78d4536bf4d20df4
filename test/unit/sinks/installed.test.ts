import { expect, test } from 'vitest';
import { AuditError } from '../../../src/errors/audit-error.ts';
import { installed } from '../../../src/sinks/shared/installed.ts';

// As Node 24 says it of a bare specifier that leads nowhere.
const missing = Object.assign(new Error("Cannot find package '@nats-io/jetstream' imported from /app/sink.js"), {
  code: 'ERR_MODULE_NOT_FOUND',
});

test('a client library that is not installed is named, with the command that installs it', async () => {
  const error = await installed(() => Promise.reject(missing)).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(AuditError);
  expect(error).toMatchObject({ code: 'AUD_SINK_PACKAGE', action: 'npm install @nats-io/jetstream' });
});

test('what is installed is loaded, and any other failure stays what it is', async () => {
  expect(await installed(async () => 'sink')).toBe('sink');
  const broken = new SyntaxError('Unexpected token');
  await expect(installed(() => Promise.reject(broken))).rejects.toBe(broken);
  const ours = Object.assign(new Error("Cannot find module '/app/encode.js'"), { code: 'ERR_MODULE_NOT_FOUND' });
  await expect(installed(() => Promise.reject(ours))).rejects.toBe(ours);
});
