import { MongoError, MongoNetworkError, MongoParseError, MongoServerError, MongoServerSelectionError } from 'mongodb';
import { AuditError, messageOf, type Retry, systemCode } from '../../src/errors/audit-error.ts';
import type { ErrorCode } from '../../src/errors/codes.ts';

/** Server codes that decide something here. https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml */
export const SERVER_CODE = {
  UNAUTHORIZED: 13,
  AUTHENTICATION_FAILED: 18,
  NAMESPACE_NOT_FOUND: 26,
  CURSOR_NOT_FOUND: 43,
  NAMESPACE_EXISTS: 48,
  COMMAND_NOT_FOUND: 59,
  CAPPED_POSITION_LOST: 136,
  INVALID_RESUME_TOKEN: 260,
  CHANGE_STREAM_FATAL: 280,
  CHANGE_STREAM_HISTORY_LOST: 286,
  OBJECT_TOO_LARGE: 10334,
  ONLY_ON_REPLICA_SETS: 40573,
  /** `$changeStreamSplitLargeEvent` cannot make a piece small enough. */
  PIECE_TOO_LARGE: 7182500,
} as const;

export function serverCode(error: unknown): number | null {
  const code = error instanceof MongoServerError ? error.code : null;
  return typeof code === 'number' ? code : null;
}

/** True for the server's word that an event, or a piece of one, is larger than a reply may be. */
export function isEventTooLarge(error: unknown): boolean {
  const code = serverCode(error);
  return code === SERVER_CODE.OBJECT_TOO_LARGE || code === SERVER_CODE.PIECE_TOO_LARGE;
}

/** True when the connection broke under a command; a server that cannot be reached at all is another matter. */
export function isConnectionClosed(error: unknown): boolean {
  return error instanceof MongoNetworkError;
}

export type HistoryLost = 'oplog_rolled_over' | 'resume_token_invalid' | 'resume_token_not_found';

/** Why the place where capture stood cannot be used any more, as the cause of a gap record; null for any other error. */
export function historyLost(error: unknown): HistoryLost | null {
  switch (serverCode(error)) {
    case SERVER_CODE.CHANGE_STREAM_HISTORY_LOST:
    case SERVER_CODE.CAPPED_POSITION_LOST:
      return 'oplog_rolled_over';
    case SERVER_CODE.INVALID_RESUME_TOKEN:
      return 'resume_token_invalid';
    case SERVER_CODE.CHANGE_STREAM_FATAL:
      return 'resume_token_not_found';
    default:
      return null;
  }
}

/**
 * What servers say of a token that they cannot read: its text is damaged, or of a later version.
 * https://github.com/mongodb/mongo/blob/master/src/mongo/db/pipeline/resume_token.cpp
 */
const UNREADABLE_TOKEN: ReadonlySet<number> = new Set([9, 15, 50795, 50796, 50811, 51055, 51057]);

/** Asked only where the same stream without the token has just been opened: some of these codes have other meanings too. */
export function isTokenUnreadable(error: unknown): boolean {
  const code = serverCode(error);
  return code !== null && (code === SERVER_CODE.INVALID_RESUME_TOKEN || UNREADABLE_TOKEN.has(code));
}

interface Mapping {
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly what: string;
  readonly action: string;
}

/** Whatever the driver throws as an error of the project: the server's words, no document and no value. */
export function mongoError(cause: unknown, source: string): AuditError {
  if (cause instanceof AuditError) return cause;
  if (!(cause instanceof MongoError) && systemCode(cause) === undefined) {
    return new AuditError('AUD_INTERNAL', { message: `Defect in source ${source}: ${messageOf(cause)}.`, cause });
  }
  const { code, retry, what, action } = mapping(cause);
  const words = messageOf(cause);
  return new AuditError(code, {
    message: `${what} for source ${source}: ${words}${/[.!?]$/.test(words) ? '' : '.'}`,
    action,
    retry,
    cause,
    data: serverCode(cause) === null ? {} : { server_code: serverCode(cause) },
  });
}

function mapping(cause: unknown): Mapping {
  if (historyLost(cause) !== null) {
    return {
      code: 'AUD_MONGO_HISTORY_LOST',
      retry: 'soon',
      what: 'The change stream cannot go on where it stood',
      action:
        'It starts again behind a gap record; enlarge the oplog: db.adminCommand({ replSetResizeOplog: 1, size: <MB> }).',
    };
  }
  switch (serverCode(cause)) {
    case SERVER_CODE.AUTHENTICATION_FAILED:
      return AUTH;
    case SERVER_CODE.UNAUTHORIZED:
      return RIGHTS;
    case SERVER_CODE.ONLY_ON_REPLICA_SETS:
      return STANDALONE;
    case null:
      return byKind(cause);
    default:
      return SERVER;
  }
}

function byKind(cause: unknown): Mapping {
  if (cause instanceof MongoParseError) return URL_FORM;
  const text = messageOf(cause);
  if (/authentication failed|Authentication failed|SCRAM/.test(text)) return AUTH;
  if (cause instanceof MongoServerSelectionError && /certificate|self[- ]signed|TLS|SSL/i.test(text)) {
    return {
      ...CONNECT,
      retry: 'after_operator',
      action: 'Set tls and tlsCAFile in the url to what the server asks for.',
    };
  }
  return CONNECT;
}

const CONNECT: Mapping = {
  code: 'AUD_MONGO_CONNECT',
  retry: 'soon',
  what: 'No connection to a MongoDB primary',
  action: 'It is tried again; look at the servers, the network and the replicaSet of the url if it lasts.',
};
const AUTH: Mapping = {
  code: 'AUD_MONGO_AUTH',
  retry: 'after_operator',
  what: 'MongoDB refuses the user',
  action:
    'Correct user, password and authSource in the url; check with: mongosh "<url>" --eval "db.runCommand({ connectionStatus: 1 })"',
};
const RIGHTS: Mapping = {
  code: 'AUD_MONGO_RIGHTS',
  retry: 'after_operator',
  what: 'The user lacks a right',
  action: 'Grant the role that `changetrail setup --print` shows.',
};
const STANDALONE: Mapping = {
  code: 'AUD_MONGO_STANDALONE',
  retry: 'after_operator',
  what: 'The server is no replica set and has no change streams',
  action: 'Start mongod with --replSet rs0, then once: mongosh --eval "rs.initiate()"',
};
const URL_FORM: Mapping = {
  code: 'AUD_MONGO_URL',
  retry: 'never',
  what: 'The url is no connection string',
  action: 'Give a URL of the form mongodb://user:password@host:27017/?replicaSet=rs0&authSource=admin.',
};
const SERVER: Mapping = {
  code: 'AUD_MONGO_SERVER',
  retry: 'soon',
  what: 'MongoDB refused a command',
  action: 'It is tried again; see the server’s message if it lasts.',
};

/** The error for a server that is alone. */
export function standaloneError(source: string): AuditError {
  return new AuditError('AUD_MONGO_STANDALONE', {
    message: `The server of source ${source} is no replica set: it has no change streams.`,
    action: STANDALONE.action,
    retry: STANDALONE.retry,
  });
}
