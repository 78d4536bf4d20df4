// What a record says of a collection, compiled once: which bytes, whether it is wanted, who its writers are.
import type { ActorStage, RowActorRule } from '../../src/core/actor.ts';
import { fragment } from '../../src/record/byte-writer.ts';
import { findElement, int32, stringAt } from './bson/layout.ts';
import { KIND } from './events.ts';
import type { CollectionMatcher } from './patterns.ts';

export interface Namespace {
  readonly database: string;
  readonly collection: string;
  /** `database.collection` as the oplog writes it. */
  readonly full: Buffer;
  readonly captured: boolean;
  /** True for the collection of context documents, whose changes are not records. */
  readonly context: boolean;
  /** `"database":"shop","ts":"` of `source`. */
  readonly source: Uint8Array;
  /** By kind of event: `},"action":"insert","object":{"database":"shop","collection":"orders","key":`. */
  readonly actions: readonly Uint8Array[];
  readonly rule: RowActorRule | null;
  /** Whether pre- and post-images are on, as of the event that is read. */
  images: boolean;
  /** Documents here have keys that need the exact walk. */
  exact: boolean;
  changes: number;
}

const ACTIONS: readonly string[] = ['insert', 'update', 'replace', 'delete'];

export interface NamespaceOptions {
  readonly matcher: CollectionMatcher;
  readonly contextCollection: string;
  readonly actors: ActorStage;
  imagesOn(database: string, collection: string): boolean;
}

export class Namespaces {
  readonly #options: NamespaceOptions;
  readonly #byBytes = new Map<string, Namespace>();
  #last: Namespace | null = null;
  #lastBytes: Buffer = Buffer.alloc(0);

  constructor(options: NamespaceOptions) {
    this.#options = options;
  }

  /** The collection that the document `{ db, coll }` at `place` names; `collection` is empty where there is none. */
  at(bytes: Buffer, place: number): Namespace {
    const end = place + int32(bytes, place);
    if (this.#last !== null && sameBytes(this.#lastBytes, bytes, place, end)) return this.#last;
    const key = bytes.toString('latin1', place, end);
    let namespace = this.#byBytes.get(key);
    if (namespace === undefined) {
      const database = findElement(bytes, place, 'db');
      const collection = findElement(bytes, place, 'coll');
      namespace = this.#make(
        database === null ? '' : stringAt(bytes, database.at),
        collection === null ? '' : stringAt(bytes, collection.at),
      );
      this.#byBytes.set(key, namespace);
    }
    this.#last = namespace;
    this.#lastBytes = Buffer.from(bytes.subarray(place, end));
    return namespace;
  }

  /** After a change of definitions: what is known of images is asked again. */
  refresh(): void {
    for (const namespace of this.#byBytes.values()) {
      namespace.images = this.#options.imagesOn(namespace.database, namespace.collection);
    }
  }

  /** Changes by collection since the start. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { database, collection, changes } of this.#byBytes.values()) {
      if (changes > 0) counts[`${database}.${collection}`] = changes;
    }
    return counts;
  }

  #make(database: string, collection: string): Namespace {
    const { matcher, contextCollection, actors, imagesOn } = this.#options;
    const names = JSON.stringify({ database, collection }).slice(0, -1);
    return {
      database,
      collection,
      full: Buffer.from(`${database}.${collection}`, 'utf8'),
      captured: collection === '' ? matcher.matchesDatabase(database) : matcher.matches(database, collection),
      context: collection === contextCollection,
      source: fragment(`"database":${JSON.stringify(database)},"ts":"`),
      actions: ACTIONS.map((action) => fragment(`},"action":"${action}","object":${names},"key":`)),
      rule: actors.rowRule(database, collection),
      images: imagesOn(database, collection),
      exact: false,
      changes: 0,
    };
  }
}

export function actionOf(kind: number): string {
  return kind <= KIND.DELETE ? ACTIONS[kind]! : '';
}

function sameBytes(known: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  // From the end: databases and collections differ in their last letters more often than in their first.
  for (let i = known.length - 1; i >= 0; i--) if (known[i] !== bytes[start + i]) return false;
  return true;
}
