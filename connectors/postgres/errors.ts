import { AuditError, messageOf, type Retry, systemCode } from '../../src/errors/audit-error.ts';
import type { ErrorCode } from '../../src/errors/codes.ts';

interface Mapping {
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly action: string;
}

const AUTH: Mapping = {
  code: 'AUD_PG_AUTH',
  retry: 'after_operator',
  action: 'Correct the user or password of this source.',
};
const NO_PASSWORD: Mapping = {
  code: 'AUD_PG_AUTH',
  retry: 'after_operator',
  action:
    'The server asks for a password: give it in the url, as PGPASSWORD, or in ~/.pgpass (or PGPASSFILE; mode 600).',
};
const HBA: Mapping = {
  code: 'AUD_PG_AUTH',
  retry: 'after_operator',
  action:
    'Allow this user, database and host in the server’s pg_hba.conf; where it says "no encryption", set sslmode in the url.',
};
const CERTIFICATE: Mapping = {
  code: 'AUD_PG_CONNECT',
  retry: 'after_operator',
  action:
    'The certificate is checked: name its authority in the url (sslrootcert=FILE), or set sslmode=no-verify to do without the check.',
};
const NO_TLS: Mapping = {
  code: 'AUD_PG_CONNECT',
  retry: 'after_operator',
  action: 'Set ssl = on at the server, or sslmode=disable in the url (or PGSSLMODE).',
};
const CONNECT: Mapping = {
  code: 'AUD_PG_CONNECT',
  retry: 'soon',
  action: 'It is tried again; look at the server and the network if it lasts.',
};

/** Of what Node says when there is no connection. */
const NODE_CODES: Readonly<Record<string, Mapping>> = {
  ECONNREFUSED: {
    ...CONNECT,
    action: 'Nothing listens there: correct host and port in the url, or start the server; it is tried again.',
  },
  ENOTFOUND: {
    ...CONNECT,
    action: 'The name is not known here: correct the host in the url (one host, not a list); it is tried again.',
  },
  ENOENT: {
    ...CONNECT,
    action:
      'There is no such socket: correct the directory and port in the url, or start the server; it is tried again.',
  },
  EACCES: { ...CONNECT, retry: 'after_operator', action: 'Let this user reach the socket; it is tried again.' },
};

/** SQLSTATEs that say more than "the server answered with an error". @see https://www.postgresql.org/docs/current/errcodes-appendix.html */
const STATES: Readonly<Record<string, Mapping>> = {
  '28P01': AUTH,
  '28000': AUTH,
  '3D000': { code: 'AUD_PG_URL', retry: 'never', action: 'Name an existing database in the url.' },
  '42501': {
    code: 'AUD_PG_RIGHTS',
    retry: 'after_operator',
    action: 'Grant the right, for example: alter role <user> replication;',
  },
  '55006': {
    code: 'AUD_PG_SLOT_IN_USE',
    retry: 'after_operator',
    action: 'Stop the other reader of the slot; it is tried again.',
  },
  '57P01': CONNECT,
  '57P02': CONNECT,
  '57P03': CONNECT,
  '53400': {
    code: 'AUD_PG_SERVER',
    retry: 'after_operator',
    action: 'Raise max_replication_slots (it needs a restart), or drop a slot that nobody reads; it is tried again.',
  },
  '55P03': {
    code: 'AUD_PG_SERVER',
    retry: 'soon',
    action:
      'Somebody holds a lock on a table (VACUUM, CREATE INDEX, a migration); pg_locks says who. It is tried again.',
  },
  '53300': { code: 'AUD_PG_CONNECT', retry: 'soon', action: 'Raise max_connections or max_wal_senders.' },
};

/** SQLSTATE of a publication that is there and that the server cannot decode by. */
const UNUSABLE_PUBLICATION = '0A000';

/** Why the server cannot decode the log from where the slot stands: asking again gives the same answer. */
export type Undecodable = 'publication_missing' | 'publication_unusable' | 'log_removed';

export function undecodable({ code, data }: AuditError): Undecodable | null {
  if (code === 'AUD_PG_SLOT_LOST') return data['sqlstate'] === undefined ? null : 'log_removed';
  if (code !== 'AUD_PG_PUBLICATION_LOST') return null;
  return data['sqlstate'] === UNUSABLE_PUBLICATION ? 'publication_unusable' : 'publication_missing';
}

/** With a digit, unlike EPIPE. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/;

/** What `pg` and Node say when there is no connection (any more). */
const NETWORK = /^(E[A-Z]+|ERR_SSL.*)$/;
const CERTIFICATES = /^(CERT_|DEPTH_ZERO|UNABLE_|SELF_SIGNED|ERR_TLS_CERT)/;

/** Whatever `pg` throws as an error of the project: the server's words, no statement and no value. */
export function postgresError(cause: unknown, source: string): AuditError {
  if (cause instanceof AuditError) return cause;
  const state = systemCode(cause);
  if ((cause instanceof TypeError || cause instanceof RangeError) && state === undefined) return defect(cause, source);
  const known =
    state === '28000' && /pg_hba/.test(messageOf(cause)) ? HBA : (STATES[state ?? ''] ?? NODE_CODES[state ?? '']);
  const mapping = known ?? byText(cause, state);
  return new AuditError(mapping.code, {
    message: `${describe(mapping.code, source)}: ${messageOf(cause)}${/[.!?]$/.test(messageOf(cause)) ? '' : '.'}`,
    action: mapping.action,
    retry: mapping.retry,
    cause,
    data: state === undefined ? {} : { sqlstate: state },
  });
}

/** Thrown by our own code or the driver's, not by the server or the network. Without memory it may go better the next time. */
function defect(cause: Error, source: string): AuditError {
  return new AuditError('AUD_INTERNAL', {
    message: `Defect in reading source ${source}: ${messageOf(cause)}.`,
    retry: /allocation failed/.test(cause.message) ? 'soon' : 'never',
    cause,
  });
}

function byText(cause: unknown, state: string | undefined): Mapping {
  const text = messageOf(cause);
  // The name of a file of the log, whatever the language of the message.
  if (state === '58P01' && /\b[0-9A-F]{24}\b/.test(text)) {
    return { code: 'AUD_PG_SLOT_LOST', retry: 'soon', action: 'The slot is made anew where that is allowed.' };
  }
  // Before 18 the server cannot decode a change while the publication is missing in its history.
  if (state === '42704' && /publication/.test(text)) {
    return { code: 'AUD_PG_PUBLICATION_LOST', retry: 'soon', action: 'It is set up again where that is allowed.' };
  }
  // Nor a table with one column list in this publication of ours and another in that.
  if (state === UNUSABLE_PUBLICATION && /column lists/.test(text)) {
    return { code: 'AUD_PG_PUBLICATION_LOST', retry: 'soon', action: 'It is set right where that is allowed.' };
  }
  if (state !== undefined && SQLSTATE.test(state) && !state.startsWith('08')) {
    return { code: 'AUD_PG_SERVER', retry: 'soon', action: 'It is tried again; see the server’s message if it lasts.' };
  }
  if (/client password must be/.test(text)) return NO_PASSWORD;
  if (/SASL|password/i.test(text) && !/terminated/i.test(text)) return AUTH;
  if (/does not support SSL/i.test(text)) return NO_TLS;
  if (/certificate/i.test(text) || (state !== undefined && CERTIFICATES.test(state))) return CERTIFICATE;
  if (state === undefined || NETWORK.test(state) || state.startsWith('08')) return CONNECT;
  return { code: 'AUD_PG_SERVER', retry: 'soon', action: 'It is tried again.' };
}

function describe(code: ErrorCode, source: string): string {
  switch (code) {
    case 'AUD_PG_AUTH':
      return `PostgreSQL refuses the user of source ${source}`;
    case 'AUD_PG_CONNECT':
      return `No connection to PostgreSQL for source ${source}`;
    case 'AUD_PG_SLOT_IN_USE':
      return `The slot of source ${source} is in use`;
    case 'AUD_PG_URL':
      return `The url of source ${source} is wrong`;
    default:
      return `PostgreSQL refused a command for source ${source}`;
  }
}
