/** Decides which tables the patterns of a source mean. */
export interface TableMatcher {
  matches(schema: string, table: string): boolean;
  /** Patterns, and exclusions of one table, that none of the given tables fit: a misspelt name is the usual reason. */
  unused(tables: readonly { readonly schema: string; readonly table: string }[]): readonly string[];
}

interface Compiled {
  readonly text: string;
  readonly exclude: boolean;
  readonly expression: RegExp;
}

/**
 * `schema.table` with `*` (any characters) and `?` (one); a name alone means any schema's table of that name in `public`.
 * A leading `!` excludes. The last pattern that fits decides.
 */
export function tableMatcher(patterns: readonly string[]): TableMatcher {
  const compiled = patterns.map(compile);
  return {
    matches(schema, table) {
      const last = compiled.findLast((pattern) => pattern.expression.test(`${schema}.${table}`));
      return last !== undefined && !last.exclude;
    },
    unused: (tables) =>
      compiled
        .filter((pattern) => !(pattern.exclude && /[*?]/.test(pattern.text)))
        .filter((pattern) => !tables.some((t) => pattern.expression.test(`${t.schema}.${t.table}`)))
        .map((pattern) => pattern.text),
  };
}

function compile(text: string): Compiled {
  const exclude = text.startsWith('!');
  const name = exclude ? text.slice(1) : text;
  const full = name.includes('.') ? name : `public.${name}`;
  const expression = [...full]
    .map((c) => (c === '*' ? '.*' : c === '?' ? '.' : c.replace(/[\\^$+()[\]{}|.]/, '\\$&')))
    .join('');
  return { text, exclude, expression: new RegExp(`^${expression}$`, 'su') };
}
