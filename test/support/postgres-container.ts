import { ContainerServer } from './containers.ts';
import type { PostgresMajor } from './npm-binaries.ts';
import { type LocalOptions, SUPERUSER_PASSWORD, TEST_SETTINGS } from './postgres-local.ts';
import { queryUrl, type ServerControl } from './postgres-server.ts';

/** A PostgreSQL of that major in a container of the official image. */
export async function containerPostgres(
  major: PostgresMajor,
  options: LocalOptions,
): Promise<{ control: ServerControl; adminUrl: string }> {
  const adminUrl = (host: string, port: number) => `postgres://postgres:${SUPERUSER_PASSWORD}@${host}:${port}/postgres`;
  const server = await ContainerServer.launch(() => ({
    image: `postgres:${major}`,
    port: 5432,
    environment: {
      POSTGRES_PASSWORD: SUPERUSER_PASSWORD,
      POSTGRES_HOST_AUTH_METHOD: options.auth === 'scram' ? 'scram-sha-256' : 'trust',
      POSTGRES_INITDB_ARGS: '--encoding=UTF8 --no-locale',
    },
    // Run by the image between initdb and the real start. Settings go into the file, not on the command line: there they could not be altered.
    files: [{ content: initScript(options), target: '/docker-entrypoint-initdb.d/00-settings.sh', mode: 0o755 }],
    readyLine: /database system is ready to accept connections/,
    // Once for the server that the image starts to set itself up, once for the real one.
    readyTimes: 2,
    answers: (host, port) => queryUrl(adminUrl(host, port), 'select 1'),
  }));
  const control: ServerControl = {
    running: () => server.running(),
    start: () => server.start(),
    stop: (mode) => server.end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT'),
    kill9: () => server.end('SIGKILL'),
    remove: () => server.remove(),
  };
  return { control, adminUrl: adminUrl(server.host, server.port) };
}

function initScript({ auth, settings, tls }: LocalOptions): string {
  const all = { ...TEST_SETTINGS, ...(tls ? { ssl: 'on' } : {}), ...settings, listen_addresses: '*' };
  const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  const method = auth === 'scram' ? 'scram-sha-256' : 'trust';
  const here = (name: string, text: string) => `cat >> "$PGDATA/${name}" <<'CHANGETRAIL'\n${text}\nCHANGETRAIL\n`;
  return [
    here('postgresql.conf', lines.join('\n')),
    here('pg_hba.conf', `host replication all all ${method}`),
    ...(tls ? [here('server.crt', tls.cert), here('server.key', tls.key), 'chmod 600 "$PGDATA/server.key"\n'] : []),
  ].join('');
}
