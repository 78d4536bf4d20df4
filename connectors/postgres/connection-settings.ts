// How a source's connections are made: the url and the environment as `pg` takes them, for control queries and the stream alike, and
// the session settings that no record may depend on.
import process from 'node:process';
import pg from 'pg';
import { AuditError, systemCode } from '../../src/errors/audit-error.ts';
import { passwordFromFile } from './password-file.ts';

/** A role's own limit must not end what has to wait. */
const UNLIMITED = '-c statement_timeout=0';

/**
 * Settings that decide how values are written as text; pinned, because a record must not depend on a role's or a database's
 * defaults. `lc_monetary` is for money; the search path and quoting for `regclass` and the names of types.
 */
const PINNED = [
  'datestyle=ISO',
  'intervalstyle=postgres',
  'extra_float_digits=1',
  'timezone=UTC',
  'bytea_output=hex',
  'lc_monetary=C',
  'search_path=pg_catalog',
  'quote_all_identifiers=off',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

const CONNECT_TIMEOUT_MS = 10_000;

/** What `pg` makes of url and environment; below its types. */
interface ConnectionParameters {
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly database: string;
  readonly password: string | null | undefined;
  readonly ssl: pg.ClientConfig['ssl'];
  readonly sslnegotiation: 'direct' | 'postgres' | undefined;
  readonly application_name: string | undefined;
  readonly options: string | undefined;
}

/**
 * The settings of a connection. What the url leaves out comes from PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE,
 * PGAPPNAME and PGOPTIONS, a password also from the file PGPASSFILE or ~/.pgpass. Nothing else that a url may say (time limits,
 * an encoding) reaches the connection: it would go over what is pinned here.
 * @throws AUD_PG_URL
 */
export function clientConfig(url: string, name: string): pg.ClientConfig {
  const given = readUrl(url, name);
  const { host, port, user, database, ssl } = given;
  const password = given.password || (() => passwordFromFile({ host, port, database, user: user ?? '' }));
  return {
    host,
    port,
    database,
    ssl,
    ...(user === undefined ? {} : { user }),
    ...(given.sslnegotiation === undefined ? {} : { sslnegotiation: given.sslnegotiation }),
    // pg accepts that there is no password after all; its types do not.
    password: password as string | (() => Promise<string>),
    application_name: given.application_name || `changetrail ${name}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    options: [given.options ?? '', PINNED, UNLIMITED].join(' ').trim(),
  };
}

function readUrl(url: string, name: string): ConnectionParameters {
  if (!FORMS.test(url)) throw urlError(`The url of source ${name} is not a connection URL.`);
  let parameters: ConnectionParameters;
  let named: boolean;
  try {
    const client = new pg.Client({ connectionString: withCheckedTls(url) });
    parameters = (client as unknown as { connectionParameters: ConnectionParameters }).connectionParameters;
    named = namesDatabase(url);
  } catch (cause) {
    throw unusable(cause, name);
  }
  if (!named) throw urlError(`The url of source ${name} names no database.`);
  return parameters;
}

/** Anything else `pg` would take for the path of a URL, and connect to a host of the name `base`. */
const FORMS = /^(postgres(ql)?:\/\/|socket:|\/)/i;
const URL_FORM =
  'Give a URL of the form postgres://user:password@host:5432/database; in user and password, characters such as / ? # @ are written %2F %3F %23 %40.';

function urlError(message: string, cause?: unknown): AuditError {
  return new AuditError('AUD_PG_URL', { message, action: URL_FORM, cause });
}

/** A certificate that the url names is read at once. */
function unusable(cause: unknown, name: string): AuditError {
  const { path } = cause as { path?: unknown };
  if (typeof path !== 'string') return urlError(`The url of source ${name} is not a connection URL.`, cause);
  return new AuditError('AUD_PG_URL', {
    message: `The url of source ${name} names a certificate or key that cannot be read (${systemCode(cause)}): ${path}.`,
    action: 'Correct sslrootcert, sslcert or sslkey in the url, or make the file readable.',
    cause,
  });
}

/** `prefer`, `require` and `verify-ca` check the certificate as `verify-full` does; `pg` warns of that at every connection. */
function withCheckedTls(url: string): string {
  if (/[?&]uselibpqcompat=true\b/.test(url)) return url;
  return url.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, '$1verify-full');
}

/** `pg` falls back to the user's name as database; for an audit trail that guess is refused. */
function namesDatabase(url: string): boolean {
  if (process.env['PGDATABASE']) return true;
  if (url.startsWith('/')) return Boolean(url.split(' ')[1]);
  // Between user and path the host may be left out, which is no URL to the letter.
  const whole = url.replace('@/', '@host/');
  const { pathname, searchParams } = new URL(URL.canParse(whole) ? whole : encodeURI(whole));
  return url.startsWith('socket:') ? Boolean(searchParams.get('db')) : pathname.length > 1;
}
