import type { RowActorRule } from '../core/actor.ts';
import { scalarText } from './bounded-json.ts';
import type { ActorOptions, RoleKind } from './options.ts';

/** What a rule adds to an actor. */
export interface Labels {
  readonly type?: string | undefined;
  readonly name?: string | undefined;
}

export interface RoleLabels {
  readonly is: RoleKind;
  readonly name?: string | undefined;
}

/** The rules of `actors:`, compiled. Lookups are linear in the number of rules and done once per distinct text. */
export class ActorRules {
  readonly options: ActorOptions;
  readonly #ids: readonly { readonly match: Matches; readonly labels: Labels }[];
  readonly #roles: readonly { readonly match: Matches; readonly labels: RoleLabels }[];
  readonly #columns: readonly { readonly tables: (name: string) => boolean; readonly rule: RowActorRule }[];

  constructor(options: ActorOptions) {
    this.options = options;
    this.#ids = options.ids.map((rule) => ({ match: glob(rule.match), labels: rule }));
    this.#roles = options.roles.map((rule) => ({ match: glob(rule.match), labels: rule }));
    this.#columns = options.columns.map((rule) => ({
      tables: tableMatcher(rule.tables),
      rule: rule.type === undefined ? { column: rule.column } : { column: rule.column, type: rule.type },
    }));
  }

  id(id: string): Labels {
    return this.#ids.find((rule) => rule.match(id))?.labels ?? {};
  }

  role(role: string): RoleLabels | null {
    return this.#roles.find((rule) => rule.match(role))?.labels ?? null;
  }

  column(schema: string, table: string): RowActorRule | null {
    const name = `${schema}.${table}`;
    return this.#columns.find((rule) => rule.tables(name))?.rule ?? null;
  }
}

type Matches = (text: string) => boolean;

/**
 * A pattern in which `*` stands for any text and `?` for one character; everything else for itself. The text may be anybody's:
 * a regular expression would try every way to share it out among several `*`, for minutes; here only the last `*` is widened.
 */
export function glob(pattern: string): Matches {
  const wanted = [...pattern];
  return (text) => {
    const given = [...text];
    let at = 0;
    let next = 0;
    let star = -1;
    let taken = 0;
    while (at < given.length) {
      if (wanted[next] === '*') {
        star = next++;
        taken = at;
      } else if (wanted[next] === '?' || wanted[next] === given[at]) {
        next++;
        at++;
      } else if (star >= 0) {
        next = star + 1;
        at = ++taken;
      } else return false;
    }
    while (wanted[next] === '*') next++;
    return next === wanted.length;
  };
}

/** As the tables of a source are chosen: the last pattern that fits decides. A name without a dot fits in any schema. */
function tableMatcher(patterns: readonly string[]): (name: string) => boolean {
  const compiled = patterns.map((pattern) => {
    const out = pattern.startsWith('!');
    const name = out ? pattern.slice(1) : pattern;
    return { out, match: glob(name.includes('.') ? name : `*.${name}`) };
  });
  return (name) => compiled.findLast((pattern) => pattern.match(name))?.out === false;
}

/** The scalar at `path` (keys with dots between; a key that has dots itself is found too), or null. */
export function scalarAt(value: unknown, path: string): string | null {
  if (typeof value !== 'object' || value === null) return null;
  if (Object.hasOwn(value, path)) return scalarText((value as Record<string, unknown>)[path]);
  const dot = path.indexOf('.');
  if (dot < 1) return null;
  const head = path.slice(0, dot);
  return Object.hasOwn(value, head) ? scalarAt((value as Record<string, unknown>)[head], path.slice(dot + 1)) : null;
}
