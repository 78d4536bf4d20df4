// Which collections have pre- and post-images on, as of the place in the stream: that tells an image that was never kept
// from one that has expired.

export class ImageState {
  readonly #on = new Set<string>();
  /** Set when something changed since `names` was last asked for. */
  changed = false;

  constructor(names: readonly string[] = []) {
    for (const name of names) this.#on.add(name);
  }

  isOn(database: string, collection: string): boolean {
    return this.#on.has(`${database}.${collection}`);
  }

  /** Collections with images on, as `database.collection`, sorted. */
  names(): string[] {
    this.changed = false;
    return [...this.#on].sort();
  }

  set(database: string, collection: string, on: boolean): void {
    const name = `${database}.${collection}`;
    if (this.#on.has(name) === on) return;
    if (on) this.#on.add(name);
    else this.#on.delete(name);
    this.changed = true;
  }

  drop(database: string, collection: string): void {
    this.set(database, collection, false);
  }

  dropDatabase(database: string): void {
    for (const name of [...this.#on]) {
      if (name.startsWith(`${database}.`)) {
        this.#on.delete(name);
        this.changed = true;
      }
    }
  }

  rename(
    from: readonly [database: string, collection: string],
    to: readonly [database: string, collection: string],
  ): void {
    const on = this.isOn(...from);
    this.set(...from, false);
    this.set(...to, on);
  }

  /** Applies a `schema` record that stands in the ledger: the forms that `schema-record.ts` and the first start write. */
  apply(object: Readonly<Record<string, unknown>>, after: unknown): void {
    const database = String(object['database'] ?? '');
    const collection = object['collection'];
    if (typeof collection !== 'string' || collection === '') {
      if (after === undefined || after === null) this.dropDatabase(database);
      return;
    }
    if (after === undefined || after === null) {
      this.drop(database, collection);
      return;
    }
    const { to, changeStreamPreAndPostImages: images } = after as {
      to?: unknown;
      changeStreamPreAndPostImages?: unknown;
    };
    const target = to as { db?: unknown; coll?: unknown } | undefined;
    if (typeof target?.db === 'string' && typeof target.coll === 'string') {
      this.rename([database, collection], [target.db, target.coll]);
    }
    const enabled = (images as { enabled?: unknown } | undefined)?.enabled;
    if (typeof enabled === 'boolean') this.set(database, collection, enabled);
  }
}
