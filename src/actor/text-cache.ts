/** Longer texts are not worth keeping: they are rare and would push out many short ones. */
const MAX_KEPT_BYTES = 4096;

/**
 * What was made from a text, by its exact bytes. Bounded: two generations of `size` entries, the older one is dropped when
 * the younger is full, so a text in use stays and the cost of a hit is one map lookup.
 */
export class TextCache<T extends object> {
  readonly #size: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  constructor(size: number) {
    this.#size = size;
  }

  /** The value for `bytes`, made by `make` when it is not known. `make` must not keep `bytes`. */
  get(bytes: Uint8Array, make: (bytes: Uint8Array) => T): T {
    if (bytes.length > MAX_KEPT_BYTES) return make(bytes);
    // Latin-1 maps each byte to one character: equal keys are equal bytes.
    const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    return this.#young.get(key) ?? this.#add(key, this.#old.get(key) ?? make(bytes));
  }

  /** As `get`, for a key that is text already. */
  getText(key: string, make: () => T): T {
    if (key.length > MAX_KEPT_BYTES) return make();
    return this.#young.get(key) ?? this.#add(key, this.#old.get(key) ?? make());
  }

  /** Forgets everything. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }

  /** Entries kept, at most twice the size. */
  get length(): number {
    return this.#young.size + this.#old.size;
  }

  #add(key: string, value: T): T {
    if (this.#young.size >= this.#size) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
    return value;
  }
}
