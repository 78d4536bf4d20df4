// The collections that are there, with the options an audit cares about.
import { BSON, type Document, type MongoClient } from 'mongodb';
import { unlessForbidden } from './client.ts';
import type { CollectionMatcher } from './patterns.ts';

export interface CollectionInfo {
  readonly database: string;
  readonly collection: string;
  readonly type: string;
  /** Options as plain JSON; null when the user may see names only. */
  readonly options: Readonly<Record<string, unknown>> | null;
  /** Null: not known. */
  readonly images: boolean | null;
}

const SYSTEM_DATABASES = new Set(['admin', 'config', 'local']);

/** Databases that the patterns could mean and the user can see; without listDatabases, those that are named. */
export async function matchingDatabases(
  client: MongoClient,
  matcher: CollectionMatcher,
  only: string | null,
): Promise<string[]> {
  if (only !== null) return [only];
  const reply = await unlessForbidden(client.db('admin').command({ listDatabases: 1, nameOnly: true }));
  const names = (reply?.['databases'] as { name: string }[] | undefined)?.map(({ name }) => name) ?? [];
  const all = new Set([...names, ...(matcher.databases ?? [])]);
  return [...all].filter((name) => !SYSTEM_DATABASES.has(name) && matcher.matchesDatabase(name)).sort();
}

/** All collections that are captured, by name. */
export async function capturedCollections(
  client: MongoClient,
  matcher: CollectionMatcher,
  databases: readonly string[],
): Promise<CollectionInfo[]> {
  const found: CollectionInfo[] = [];
  for (const database of databases) {
    for (const info of await listOne(client, database)) {
      const name = String(info['name']);
      if (name.startsWith('system.') || !matcher.matches(database, name)) continue;
      found.push(describe(database, info));
    }
  }
  return found;
}

async function listOne(client: MongoClient, database: string): Promise<Document[]> {
  const db = client.db(database);
  const full = await unlessForbidden(db.listCollections({}, { batchSize: 1000 }).toArray());
  if (full !== null) return full.sort(byName);
  const names = await unlessForbidden(
    db.listCollections({}, { nameOnly: true, authorizedCollections: true }).toArray(),
  );
  return (names ?? []).map(({ name, type }) => ({ name, type })).sort(byName);
}

function byName(a: Document, b: Document): number {
  return a['name'] < b['name'] ? -1 : 1;
}

function describe(database: string, info: Document): CollectionInfo {
  const options = info['options'] as Document | undefined;
  return {
    database,
    collection: String(info['name']),
    type: String(info['type'] ?? 'collection'),
    options: options === undefined ? null : (BSON.EJSON.serialize(options) as Record<string, unknown>),
    images: options === undefined ? null : options['changeStreamPreAndPostImages']?.enabled === true,
  };
}

/** Collections whose changes can have images and have none. */
export function withoutImages(collections: readonly CollectionInfo[], contextCollection: string): CollectionInfo[] {
  return collections.filter((c) => c.type === 'collection' && c.images === false && c.collection !== contextCollection);
}

/** Collections named in one line. */
const MAX_NAMED = 20;

/** What mends a pattern without collections: the names that there are, and how the missing one is made or looked for. */
export function patternFix(pattern: string, captured: readonly CollectionInfo[]): string {
  const names = captured.slice(0, MAX_NAMED).map((c) => `${c.database}.${c.collection}`);
  const literal = /^([^.*?]+)\.([^*?]+)$/.exec(pattern);
  const make =
    literal === null
      ? 'see what is there: mongosh "<url>" --eval "db.adminCommand({ listDatabases: 1, nameOnly: true })"'
      : `create it: db.getSiblingDB(${JSON.stringify(literal[1])}).createCollection(${JSON.stringify(literal[2])})`;
  return `Correct the pattern, or ${make}. Captured are: ${names.join(', ') || 'none'}.`;
}
