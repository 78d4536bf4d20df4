import { expect, test } from 'vitest';
import { until } from '../../support/wait.ts';

test('gives the first truthy value, after asking as often as needed', async () => {
  let asked = 0;
  expect(await until(() => ++asked >= 3 && `asked ${asked}`, { what: 'three' })).toBe('asked 3');
  expect(asked).toBe(3);
});

test('takes a throwing condition for one not yet met', async () => {
  let asked = 0;
  const condition = () => {
    if (++asked < 3) throw new Error('not yet');
    return true;
  };
  await until(condition, { what: 'the condition' });
  expect(asked).toBe(3);
});

test('says what it waited for and the value last seen', async () => {
  const rows: unknown[] = [];
  const never = until(() => rows.length > 3 || undefined, { what: 'four rows', timeoutMs: 20 });
  await expect(never).rejects.toThrow('waited 20 ms for four rows; last seen: undefined');
});

test('says the last error and keeps it as the cause', async () => {
  const cause = new Error('connection refused');
  const never = until(() => Promise.reject(cause), { what: 'the server', timeoutMs: 20 });
  await expect(never).rejects.toMatchObject({ message: expect.stringContaining('connection refused'), cause });
});
