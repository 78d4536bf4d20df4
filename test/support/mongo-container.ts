import { ContainerServer } from './containers.ts';
import { type LocalMongoOptions, mongodArguments, mongoKey, prepareMongo } from './mongo-local.ts';
import { commandAt, type MongoControl } from './mongo-server.ts';

/** A mongod in a container of an official image. */
export async function containerMongo(
  image: string,
  options: LocalMongoOptions,
): Promise<{ control: MongoControl; url: string }> {
  const server = await ContainerServer.launch((port) => {
    const args = [...mongodArguments(port, options), '--bind_ip_all'];
    const keyed = options.auth && options.replicaSet;
    if (keyed) args.push('--keyFile', '/data/db/key');
    const mongod = `exec docker-entrypoint.sh mongod ${args.join(' ')}`;
    return {
      image,
      // Inside and outside alike: the replica set tells clients the address it knows itself by.
      port,
      command: ['bash', '-c', keyed ? `install -m 400 -o mongodb /tmp/key /data/db/key && ${mongod}` : mongod],
      files: keyed ? [{ content: mongoKey(), target: '/tmp/key', mode: 0o644 }] : [],
      readyLine: /Waiting for connections/,
      readyTimes: 1,
      answers: (host, hostPort) => commandAt(`mongodb://${host}:${hostPort}/?directConnection=true`, { hello: 1 }),
    };
  });
  const control: MongoControl = {
    running: () => server.running(),
    start: () => server.start(),
    stop: () => server.end('SIGTERM'),
    kill9: () => server.end('SIGKILL'),
    remove: () => server.remove(),
  };
  return { control, url: await prepareMongo(server.host, server.port, options) };
}
