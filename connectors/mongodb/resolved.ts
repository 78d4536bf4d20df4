import { AuditError } from '../../src/errors/audit-error.ts';
import type { MongodbOptions } from './options.ts';
import { type CollectionMatcher, collectionMatcher } from './patterns.ts';

/** What the options come to for one source. */
export interface ResolvedMongodb extends MongodbOptions {
  readonly name: string;
  readonly matcher: CollectionMatcher;
  /** The one database with `scope: database`, else null. */
  readonly only: string | null;
}

/** @throws AUD_MONGO_URL when `scope: database` names no single database. */
export function resolveMongodb(name: string, options: MongodbOptions): ResolvedMongodb {
  const matcher = collectionMatcher(options.collections);
  if (options.scope === 'cluster') return { ...options, name, matcher, only: null };
  const only = options.database ?? (matcher.databases?.length === 1 ? matcher.databases[0]! : null);
  if (only === null) {
    throw new AuditError('AUD_MONGO_URL', {
      message: `Source ${name} has scope: database, but its collections do not name one database.`,
      action: 'Set database: <name>, or begin all patterns with the same database.',
    });
  }
  return { ...options, name, matcher, only };
}
