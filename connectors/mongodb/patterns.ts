import { BSONRegExp, type Document } from 'mongodb';

/** Decides which collections the patterns of a source mean. */
export interface CollectionMatcher {
  matches(database: string, collection: string): boolean;
  /** True when some collection of the database could be meant. */
  matchesDatabase(database: string): boolean;
  /** Patterns (not exclusions) that none of the given collections fit: a misspelt name is the usual reason. */
  unused(collections: readonly { readonly database: string; readonly collection: string }[]): readonly string[];
  /**
   * Conditions for a `$match` that lets at least all wanted document changes of `databases` through, or null when nothing
   * of them would be filtered. What it lets through too much is dropped here.
   */
  readonly serverFilter: Document | null;
  /** The same for entries of the oplog, which name their collection in one text; empty when nothing would be filtered. */
  readonly oplogFilter: Document;
  /** Databases named without wildcards, when all patterns name one; else null. */
  readonly databases: readonly string[] | null;
}

interface Pattern {
  readonly text: string;
  readonly exclude: boolean;
  readonly database: string;
  readonly collection: string;
  readonly databaseTest: RegExp;
  readonly collectionTest: RegExp;
}

/**
 * `database.collection` with `*` (any characters) and `?` (one); the first dot divides, and a database alone means all its
 * collections. A leading `!` excludes. The last pattern that fits decides.
 */
export function collectionMatcher(patterns: readonly string[]): CollectionMatcher {
  const all = patterns.map(compile);
  const included = all.filter((pattern) => !pattern.exclude);
  const fits = (p: Pattern, database: string, collection: string) =>
    p.databaseTest.test(database) && p.collectionTest.test(collection);
  const matches = (database: string, collection: string) => {
    const last = all.findLast((pattern) => fits(pattern, database, collection));
    return last !== undefined && !last.exclude;
  };
  const excluded = all.filter((p) => p.exclude && isLiteral(p) && !matches(p.database, p.collection));
  return {
    matches,
    matchesDatabase: (database) => included.some((pattern) => pattern.databaseTest.test(database)),
    unused: (collections) =>
      included
        .filter((p) => !collections.some((c) => fits(p, c.database, c.collection)))
        .map((pattern) => pattern.text),
    serverFilter: serverFilter(included, excluded),
    oplogFilter: oplogFilter(included, excluded),
    databases: included.every((p) => !isWild(p.database)) ? [...new Set(included.map((p) => p.database))] : null,
  };
}

function compile(text: string): Pattern {
  const exclude = text.startsWith('!');
  const name = exclude ? text.slice(1) : text;
  const dot = name.indexOf('.');
  const database = dot < 0 ? name : name.slice(0, dot);
  const collection = dot < 0 ? '*' : name.slice(dot + 1);
  return {
    text,
    exclude,
    database,
    collection,
    databaseTest: new RegExp(`^${expression(database)}$`, 'su'),
    collectionTest: new RegExp(`^${expression(collection)}$`, 'su'),
  };
}

function expression(pattern: string): string {
  return [...pattern]
    .map((c) => (c === '*' ? '.*' : c === '?' ? '.' : c.replace(/[\\^$+()[\]{}|./-]/, '\\$&')))
    .join('');
}

function isWild(pattern: string): boolean {
  return /[*?]/.test(pattern);
}

function isLiteral(pattern: Pattern): boolean {
  return !isWild(pattern.database) && !isWild(pattern.collection);
}

/** Regular expressions cost the server far more than comparisons, so literal names are compared. */
function serverFilter(included: readonly Pattern[], excluded: readonly Pattern[]): Document | null {
  const not = excluded.map((p) => ({ 'ns.db': p.database, 'ns.coll': p.collection }));
  const nor = not.length > 0 ? { $nor: not } : {};
  const whole = included.filter((p) => p.collection === '*' && !isWild(p.database)).map((p) => p.database);
  const rest = included.filter((p) => p.collection !== '*' || isWild(p.database));
  // Databases as a whole, and nothing else: that is a condition on the database alone.
  if (rest.length === 0 || rest.some((p) => p.database === '*' && p.collection === '*')) {
    return not.length > 0 ? nor : null;
  }
  const any: Document[] = whole.length > 0 ? [{ 'ns.db': { $in: whole } }] : [];
  for (const [database, names] of literalNames(rest)) any.push({ 'ns.db': database, 'ns.coll': { $in: names } });
  for (const p of rest.filter((pattern) => !isLiteral(pattern))) {
    any.push({ ...condition('ns.db', p.database), ...condition('ns.coll', p.collection) });
  }
  return { $or: any, ...nor };
}

/** Writes of several documents at once stand there as commands (MongoDB 8.0), below this name. */
const COMMAND_NAMESPACE = 'admin.$cmd';

function oplogFilter(included: readonly Pattern[], excluded: readonly Pattern[]): Document {
  const not = excluded.length > 0 ? { $nin: excluded.map((p) => `${p.database}.${p.collection}`) } : {};
  const all = included.some((p) => p.database === '*' && p.collection === '*');
  const names = included.map((p) =>
    isLiteral(p)
      ? `${p.database}.${p.collection}`
      : // Of a RegExp the driver would not send the flag.
        new BSONRegExp(`^${expression(p.database)}\\.${expression(p.collection)}$`, 's'),
  );
  const ns = { ...(all ? {} : { $in: [...names, COMMAND_NAMESPACE] }), ...not };
  return Object.keys(ns).length === 0 ? {} : { ns };
}

function literalNames(patterns: readonly Pattern[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const p of patterns.filter(isLiteral)) names.set(p.database, [...(names.get(p.database) ?? []), p.collection]);
  return names;
}

function condition(field: string, pattern: string): Document {
  if (pattern === '*') return {};
  return { [field]: isWild(pattern) ? { $regex: `^${expression(pattern)}$`, $options: 's' } : pattern };
}
