import { type Document, MongoClient } from 'mongodb';
import { describe, expect, test, vi } from 'vitest';
import { createMongodbConnector } from '../../connectors/mongodb/connector.ts';
import { mongodbOptions } from '../../connectors/mongodb/options.ts';
import type { CheckItem, SourceHost } from '../../src/core/connector.ts';
import { memoryLog } from '../support/memory-log.ts';
import { mongoMissing, provideMongo } from '../support/provide.ts';
import { startCapture } from './support/capture.ts';

// Servers of one's own are started and stopped: a busy machine takes its time.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const never = new AbortController().signal;

/** A connector for `doctor` and `setup --print`, which use no more of their host than its name. */
function connector(options: Record<string, unknown>) {
  const host = { name: 'docs', log: memoryLog().log, now: Date.now } as unknown as SourceHost;
  return createMongodbConnector(mongodbOptions.parse({ type: 'mongodb', ...options }), host);
}

const item = (items: readonly CheckItem[], name: string) => items.find((i) => i.name === name);

describe.skipIf(await mongoMissing())('doctor and setup', () => {
  test('the printed commands are all that is needed: run by an administrator, nothing is left to do', async () => {
    await using server = await provideMongo({ replicaSet: true, auth: true, fresh: true });
    await using root = new MongoClient(server.url);
    const admin = root.db('admin');
    await root.db('shop').createCollection('orders');
    await admin.command({ createUser: 'auditor', pwd: 'pw', roles: [] });
    const url = `mongodb://auditor:pw@${server.host}:${server.port}/?replicaSet=rs0&authSource=admin`;
    const before = (await connector({ url, collections: ['shop.*'] }).check(never)).items;
    expect(item(before, 'change_stream')).toMatchObject({ level: 'error', fix: expect.stringContaining('createRole') });
    // The user sees nothing yet, so the images come in a second print.
    for (let print = 0; print < 2; print++) {
      for (const line of await connector({ url, collections: ['shop.*'] }).plan(never))
        await runShellLine(root, line, 'auditor');
    }
    const after = (await connector({ url, collections: ['shop.*'] }).check(never)).items;
    expect(after.filter((i) => i.level !== 'ok')).toEqual([]);
    expect(await connector({ url, collections: ['shop.*'] }).plan(never)).toEqual([]);
  });

  test('a database user needs no more than its database', async () => {
    await using server = await provideMongo({ replicaSet: true, auth: true, fresh: true });
    await using root = new MongoClient(server.url);
    const privileges = [{ resource: { db: 'shop', collection: '' }, actions: ['changeStream', 'find'] }];
    await root.db('shop').command({ createRole: 'stream', privileges, roles: [] });
    await root.db('shop').command({ createUser: 'narrow', pwd: 'pw', roles: ['stream'] });
    const as = `mongodb://narrow:pw@${server.host}:${server.port}/?replicaSet=rs0&authSource=shop`;
    const wide = (await connector({ url: as, collections: ['shop.*'] }).check(never)).items;
    expect(item(wide, 'change_stream')).toMatchObject({
      level: 'error',
      fix: expect.stringContaining('scope: database'),
    });
    await using capture = await startCapture({
      url: server.url,
      as,
      markerDatabase: 'shop',
      source: { collections: ['shop.*'], scope: 'database', database: 'shop', oplog_view: false },
    });
    await root.db('shop').collection<Document>('a').insertOne({ n: 1 });
    const [record] = await capture.changes('a');
    expect(record).toMatchObject({ after: { n: 1 }, actor: { assurance: 'none', reason: 'oplog_view_off' } });
  });

  test('doctor names a pattern that matches nothing, images that are off, and authentication that is off', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('orders');
    const { items } = await connector({
      url: server.url,
      collections: [`${database.name}.orders`, `${database.name}.oders`],
    }).check(never);
    expect(item(items, 'connection')).toMatchObject({
      level: 'ok',
      detail: expect.stringContaining('replica set rs0'),
    });
    expect(item(items, 'collections')).toMatchObject({
      level: 'warning',
      detail: expect.stringContaining('.oders'),
      fix: expect.stringContaining('.orders'),
    });
    expect(item(items, 'images')!.fix).toBe(
      `db.getSiblingDB("${database.name}").runCommand({"collMod":"orders","changeStreamPreAndPostImages":{"enabled":true}})`,
    );
    expect(item(items, 'users')).toMatchObject({
      level: 'warning',
      detail: expect.stringContaining('authentication is off'),
    });
  });
});

describe.skipIf(await mongoMissing())('bad input is one clear line with what mends it', () => {
  const opened = async (url: string, more: Record<string, unknown> = {}) => {
    const c = connector({ url, ...more });
    try {
      await c.open(
        { last: null, lastKind: null, position: null, state: null, started: null, ledgerBehind: false, schemas: [] },
        never,
      );
    } finally {
      await c.close();
    }
  };

  test('a standalone server, also where the url asks for a replica set', async () => {
    const server = await provideMongo({ replicaSet: false });
    const plain = `mongodb://${server.host}:${server.port}/`;
    for (const url of [plain, `${plain}?replicaSet=rs0`, `${plain}?directConnection=true`]) {
      await expect(opened(url)).rejects.toMatchObject({
        code: 'AUD_MONGO_STANDALONE',
        action: expect.stringContaining('rs.initiate()'),
      });
    }
    const { items } = await connector({ url: plain }).check(never);
    expect(items).toMatchObject([{ level: 'error', fix: expect.stringContaining('--replSet') }]);
  });

  test('a wrong password, which is never shown', async () => {
    await using server = await provideMongo({ replicaSet: true, auth: true, fresh: true });
    const url = `mongodb://root:ganzgeheim@${server.host}:${server.port}/?replicaSet=rs0&authSource=admin`;
    const error = await opened(url).then(
      () => null,
      (caught: Error) => caught,
    );
    expect(error).toMatchObject({
      code: 'AUD_MONGO_AUTH',
      retry: 'after_operator',
      action: expect.stringContaining('authSource'),
    });
    expect(`${error!.message}${(error as { action?: string }).action}`).not.toContain('ganzgeheim');
    await expect(opened(`mongodb://${server.host}:${server.port}/?replicaSet=rs0`)).rejects.toMatchObject({
      code: 'AUD_MONGO_AUTH',
      message: expect.stringContaining('the url has none'),
    });
  });

  test('no server at all, and a url that is none', async () => {
    await expect(opened('mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300')).rejects.toMatchObject({
      code: 'AUD_MONGO_CONNECT',
      retry: 'soon',
    });
    expect(() => connector({ url: 'postgres://u:p@h/db' })).not.toThrow();
    await expect(opened('postgres://u:p@h/db')).rejects.toMatchObject({
      code: 'AUD_MONGO_URL',
      action: expect.stringContaining('mongodb://'),
    });
  });

  test('scope: database without one database', () => {
    expect(() => connector({ url: 'mongodb://h', scope: 'database', collections: ['a.*', 'b.*'] })).toThrow(
      expect.objectContaining({ code: 'AUD_MONGO_URL', action: expect.stringContaining('database:') }),
    );
  });

  test('patterns and images are said once when capture starts', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(server.url);
    await client.db(database.name).createCollection('orders');
    await using capture = await startCapture({
      url: server.url,
      source: { collections: [`${database.name}.orders`, `${database.name}.oders`] },
    });
    await capture.stop();
    await capture.start();
    const said = (event: string) => capture.log.entries.filter((e) => e['event'] === event);
    expect(said('pattern_unused').map((e) => e['pattern'])).toContain(`${database.name}.oders`);
    expect(said('pattern_unused').find((e) => e['pattern'] === `${database.name}.oders`)!['action']).toContain(
      `db.getSiblingDB("${database.name}").createCollection("oders")`,
    );
    expect(said('images_off')[0]!['action']).toContain('"collMod":"orders"');
  });
});

/** Runs a line of the printed setup as mongosh would. */
async function runShellLine(client: MongoClient, line: string, user: string): Promise<void> {
  const command = /^db\.getSiblingDB\("([^"]+)"\)\.runCommand\((.*)\)$/.exec(line);
  if (command !== null) {
    await client.db(command[1]).command(JSON.parse(command[2]!) as Document);
    return;
  }
  const grant = /^db\.getSiblingDB\("admin"\)\.grantRolesToUser\("<user of the url>", (\[.*\])\)$/.exec(line);
  if (grant === null) throw new Error(`not a line for mongosh: ${line}`);
  await client.db('admin').command({ grantRolesToUser: user, roles: JSON.parse(grant[1]!) as Document[] });
}
