/** How changes of one table, or of everything, were attributed. */
export interface ActorCounts {
  verified: number;
  claimed: number;
  inferred: number;
  none: number;
  /** Of `verified` and `claimed`: only a database role is known that is no person and no job. */
  role_only: number;
}

export interface ApplicationCounts {
  changes: number;
  /** Of these: nobody named, or nothing but a shared database role. */
  without_actor: number;
}

/** What `status --actors` shows; plain JSON. */
export interface ActorSnapshot {
  readonly total: ActorCounts;
  readonly tables: Readonly<Record<string, ActorCounts>>;
  readonly applications: Readonly<Record<string, ApplicationCounts>>;
  /** Messages and claims with something wrong, by reason. */
  readonly reasons: Readonly<Record<string, number>>;
}

export type CountedAs = 'verified' | 'claimed' | 'inferred' | 'none';

/** Names come from outside: more than this many tables or applications are counted together. */
const MAX_NAMES = 2000;
const MAX_NAME_LENGTH = 256;
export const OTHERS = '(others)';

/** Counts by assurance, table and application. One for a source; kept for the life of the process. */
export class ActorMetrics {
  readonly total = noCounts();
  readonly #tables = new Map<string, ActorCounts>();
  readonly #applications = new Map<string, ApplicationCounts>();
  readonly #reasons = new Map<string, number>();
  #lastSchema = '';
  #lastTable = '';
  #last: ActorCounts | null = null;

  /** `before`: a snapshot of an earlier run to go on from. */
  constructor(before?: ActorSnapshot) {
    if (before === undefined) return;
    Object.assign(this.total, before.total);
    for (const [name, counts] of Object.entries(before.tables)) this.#tables.set(name, { ...noCounts(), ...counts });
    for (const [name, counts] of Object.entries(before.applications)) this.#applications.set(name, { ...counts });
    for (const [name, count] of Object.entries(before.reasons)) this.#reasons.set(name, count);
  }

  count(schema: string, table: string, changes: number, as: CountedAs, roleOnly: boolean): void {
    if (this.#last === null || table !== this.#lastTable || schema !== this.#lastSchema) {
      this.#last = entry(this.#tables, `${schema}.${table}`, noCounts);
      this.#lastSchema = schema;
      this.#lastTable = table;
    }
    this.#last[as] += changes;
    this.total[as] += changes;
    if (roleOnly) {
      this.#last.role_only += changes;
      this.total.role_only += changes;
    }
  }

  /** The counter of one application, to be kept by the caller. */
  application(name: string): ApplicationCounts {
    return entry(this.#applications, name, () => ({ changes: 0, without_actor: 0 }));
  }

  reason(reason: string): void {
    this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
  }

  snapshot(): ActorSnapshot {
    return {
      total: { ...this.total },
      tables: Object.fromEntries([...this.#tables].map(([name, counts]) => [name, { ...counts }])),
      applications: Object.fromEntries([...this.#applications].map(([name, counts]) => [name, { ...counts }])),
      reasons: Object.fromEntries(this.#reasons),
    };
  }
}

function noCounts(): ActorCounts {
  return { verified: 0, claimed: 0, inferred: 0, none: 0, role_only: 0 };
}

function entry<T>(map: Map<string, T>, name: string, make: () => T): T {
  const short = name.slice(0, MAX_NAME_LENGTH);
  const known = map.get(short);
  if (known !== undefined) return known;
  const key = map.size >= MAX_NAMES ? OTHERS : short;
  const made = map.get(key) ?? make();
  map.set(key, made);
  return made;
}
