import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startShop as startNone } from '../../examples/express-shop/step-0-none.ts';
import { startShop as startClaimed } from '../../examples/express-shop/step-1-claimed.ts';
import { startShop as startVerified } from '../../examples/express-shop/step-2-verified.ts';
import { configureSigner } from '../../src/context/index.ts';
import { type AuditRecord, type Capture, startCapture } from '../support/capture.ts';
import { providePostgres, type TestDatabase } from '../support/provide.ts';

// The guide docs/guides/acting-user.md, run: the same shop and the same requests, from nobody to a proven user.
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const privatePem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
const publicPem = publicKey.export({ type: 'spki', format: 'pem' }) as string;

let database: TestDatabase;
let capture: Capture;

beforeAll(async () => {
  const server = await providePostgres({ major: 18 });
  database = await server.createDatabase();
  await database.query(readFileSync(new URL('../../examples/express-shop/schema.sql', import.meta.url), 'utf8'));
  capture = await startCapture({
    url: database.url,
    configuration: { actors: { claims: { keys: [{ id: 'shop-2026', algorithm: 'EdDSA', key: publicPem }] } } },
  });
});

afterAll(async () => {
  configureSigner(null);
  await capture?.[Symbol.asyncDispose]();
  await database?.drop();
});

interface Shop {
  readonly shop: Express;
  readonly nightly: () => Promise<void>;
  readonly pool: pg.Pool;
}

/** Uses the shop as two people and a job do, and gives back the records of it. */
async function use({ shop, nightly, pool }: Shop, email: string): Promise<AuditRecord[]> {
  const before = (await capture.changes()).length;
  const server = shop.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const request = async (user: string, method: string, path: string, body?: object) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { 'content-type': 'application/json', 'x-user': user, 'x-request-id': `${method}-${path.slice(1)}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    expect(response.ok).toBe(true);
  };
  await request('alice@example.com', 'POST', '/orders', { product: 1, quantity: 2 });
  await request('bob@example.com', 'PATCH', '/users/1', { email });
  await request('bob@example.com', 'PATCH', '/users/1', { email: 'alice@example.com' });
  await nightly();
  await new Promise((resolve) => server.close(resolve));
  await pool.end();
  return (await capture.changes()).slice(before);
}

const ALICE = { id: 'alice@example.com', type: 'user', app: 'shop', client: '127.0.0.1', via: 'message' };
const BOB = { ...ALICE, id: 'bob@example.com', type: 'support' };
const NIGHTLY = { id: 'nightly-prices', type: 'job', app: 'shop', via: 'message' };
/** Who is behind each record of `use`: an order is two changes in one transaction, the job changes two products. */
const EXPECTED = [ALICE, ALICE, BOB, BOB, NIGHTLY, NIGHTLY];

test('as it is, the shop’s changes name nobody', async () => {
  const records = await use(startNone(database.url), 'none@example.com');
  expect(records.map(({ action, object }) => `${action} ${(object as { table: string }).table}`)).toEqual([
    'update products',
    'insert orders',
    'update users',
    'update users',
    'update products',
    'update products',
  ]);
  for (const { actor } of records) expect(actor).toMatchObject({ assurance: 'none' });
});

test('three lines later each change is claimed by its user, with the request', async () => {
  const records = await use(startClaimed(database.url), 'claimed@example.com');
  expect(records).toHaveLength(EXPECTED.length);
  records.forEach(({ actor }, n) => {
    expect(actor).toMatchObject({ ...EXPECTED[n], assurance: 'claimed' });
  });
  expect(records[1]?.context).toEqual({ request_id: 'POST-orders' });
  expect(records[3]?.context).toEqual({ request_id: 'PATCH-users/1' });
});

test('signed, each change is verified', async () => {
  const records = await use(startVerified(database.url, privatePem), 'verified@example.com');
  configureSigner(null);
  expect(records).toHaveLength(EXPECTED.length);
  records.forEach(({ actor }, n) => {
    expect(actor).toMatchObject({ ...EXPECTED[n], assurance: 'verified' });
  });
  expect(records[1]?.context).toEqual({ request_id: 'POST-orders' });
});

test('somebody with SQL cannot be the user: a claim made up or copied stays claimed, with the reason', async () => {
  const { pool } = startVerified(database.url, privatePem);
  const { withActor, actorMessage } = await import('../../src/context/index.ts');
  // What a thief sees: the text of the statement of a transaction that was committed.
  const stolen = withActor({ id: 'alice@example.com', type: 'user' }, () => actorMessage()) as string;
  configureSigner(null);
  const emit = 'select pg_logical_emit_message(true, $1, $2::text)';
  const attempt = async (message: string, email: string) => {
    const client = await pool.connect();
    await client.query('begin');
    await client.query(emit, ['changetrail', message]);
    await client.query('update users set email = $1 where id = 2', [email]);
    await client.query('commit');
    client.release();
  };
  await attempt(stolen, '1@example.com');
  await attempt(stolen, '2@example.com');
  const [head, body, signature] = stolen.slice(10, -2).split('.') as [string, string, string];
  const forgedBody = Buffer.from(Buffer.from(body, 'base64url').toString().replace('alice', 'admin')).toString(
    'base64url',
  );
  await attempt(`{"claim":"${head}.${forgedBody}.${signature}"}`, '3@example.com');
  await attempt('{"id":"alice@example.com"}', '4@example.com');
  await pool.end();
  const actors = (await capture.changes()).slice(-4).map(({ actor }) => actor as Record<string, unknown>);
  expect(actors[0]).toMatchObject({ id: 'alice@example.com', assurance: 'verified' });
  expect(actors[1]).toMatchObject({ id: 'alice@example.com', assurance: 'claimed', reason: 'claim_replayed' });
  expect(actors[2]).toMatchObject({ id: 'admin@example.com', assurance: 'claimed', reason: 'claim_forged' });
  expect(actors[3]).toMatchObject({ id: 'alice@example.com', assurance: 'claimed' });
});
