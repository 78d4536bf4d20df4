import { MongoClient } from 'mongodb';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { mongoMissing, provideMongo } from './provide.ts';

afterEach(() => vi.unstubAllEnvs());

describe.skipIf(await mongoMissing())('MongoDB', () => {
  test('a replica set takes writes and gives change streams when it is provided', async () => {
    const server = await provideMongo({ replicaSet: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(database.url);
    await using stream = client.db().collection('a').watch();
    // Opens it: a stream shows what comes after that.
    await stream.tryNext();
    await client.db().collection('a').insertOne({ n: 1 });
    expect(await stream.next()).toMatchObject({ operationType: 'insert', fullDocument: { n: 1 } });
  });

  test('is one server for equal options, which nobody may disturb', async () => {
    const server = await provideMongo({ replicaSet: true });
    expect(await provideMongo({ replicaSet: true })).toBe(server);
    await expect(server.stop()).rejects.toThrow('{ fresh: true }');
    await expect(server.stepDown()).rejects.toThrow('{ fresh: true }');
  });

  test('a single server is no replica set', async () => {
    const server = await provideMongo({ replicaSet: false });
    expect(await server.command({ hello: 1 })).not.toHaveProperty('setName');
  });

  test('with auth only the given user may read, also after a restart', async () => {
    await using server = await provideMongo({ replicaSet: true, auth: true, fresh: true });
    await server.restart();
    await using anonymous = new MongoClient(`mongodb://${server.host}:${server.port}/?directConnection=true`);
    await expect(anonymous.db('admin').command({ listDatabases: 1 })).rejects.toMatchObject({
      codeName: 'Unauthorized',
    });
    await using database = server.createDatabase();
    await using root = new MongoClient(database.url);
    await root.db().collection('a').insertOne({ n: 1 });
    expect(await root.db().collection('a').countDocuments()).toBe(1);
  });

  test('a fresh server comes back after SIGKILL with what a majority had', async () => {
    await using server = await provideMongo({ replicaSet: true, fresh: true });
    await using database = server.createDatabase();
    await using client = new MongoClient(database.url, { writeConcern: { w: 'majority' } });
    await client.db().collection('a').insertOne({ n: 1 });
    await server.kill9();
    await server.start();
    expect(await client.db().collection('a').countDocuments()).toBe(1);
  });

  test('a stepdown is an election: another term, and writes go on', async () => {
    await using server = await provideMongo({ replicaSet: true, fresh: true });
    const term = async () => Number((await server.command({ replSetGetStatus: 1 }))['term']);
    const before = await term();
    await server.stepDown();
    expect(await term()).toBeGreaterThan(before);
    await using database = server.createDatabase();
    await using client = new MongoClient(database.url);
    await client.db().collection('a').insertOne({ n: 1 });
  });

  test('takes the size of the oplog and parameters', async () => {
    await using server = await provideMongo({
      replicaSet: true,
      fresh: true,
      oplogSizeMb: 20,
      parameters: { enableTestCommands: 1 },
    });
    const { maxSize } = await server.command({ collStats: 'oplog.rs' }, 'local');
    expect(maxSize).toBe(20 * 1024 * 1024);
    expect(await server.command({ getParameter: 1, enableTestCommands: 1 })).toMatchObject({
      enableTestCommands: true,
    });
  });

  test('a server named in the environment is used for a replica set and passed over for a single server', async () => {
    const server = await provideMongo({ replicaSet: true });
    vi.stubEnv('CHANGETRAIL_TEST_MONGO', server.url);
    const named = await provideMongo({ replicaSet: true, auth: false });
    expect([named.provider, named.port]).toEqual(['env', server.port]);
    const single = await provideMongo({ replicaSet: false, fresh: true });
    expect(single.provider).not.toBe('env');
    await single[Symbol.asyncDispose]();
  });
});
