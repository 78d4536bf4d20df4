/** Decides which tables the patterns of a source mean. */
export interface TableMatcher {
  matches(schema: string, table: string): boolean;
  /** Patterns, and exclusions of one table, that none of the given tables fit: a misspelt name is the usual reason. */
  unused(tables: readonly { readonly schema: string; readonly table: string }[]): readonly string[];
}

/** A pattern as two regular expressions, written so that JavaScript and PostgreSQL read them alike. */
export interface TablePattern {
  readonly exclude: boolean;
  readonly schema: string;
  readonly table: string;
}

/**
 * `schema.table` with `*` (any characters) and `?` (one); a name alone means the table in `public`. Text in double quotes is
 * taken as it is, as in SQL: `"my.schema".*`. A leading `!` excludes. The last pattern that fits decides.
 */
export function tableMatcher(patterns: readonly string[]): TableMatcher {
  const compiled = patterns.map((text) => {
    const { exclude, schema, table } = parsePattern(text);
    return { text, exclude, schema: new RegExp(schema, 'su'), table: new RegExp(table, 'su') };
  });
  const fits = (pattern: (typeof compiled)[number], schema: string, table: string) =>
    pattern.schema.test(schema) && pattern.table.test(table);
  return {
    matches: (schema, table) => compiled.findLast((pattern) => fits(pattern, schema, table))?.exclude === false,
    unused: (tables) =>
      compiled
        .filter((pattern) => !(pattern.exclude && /[*?]/.test(pattern.text)))
        .filter((pattern) => !tables.some((t) => fits(pattern, t.schema, t.table)))
        .map((pattern) => pattern.text),
  };
}

export function parsePattern(text: string): TablePattern {
  const exclude = text.startsWith('!');
  const parts: string[] = [''];
  let quoted = false;
  const characters = [...(exclude ? text.slice(1) : text)];
  for (let i = 0; i < characters.length; i++) {
    const c = characters[i]!;
    if (c === '"' && quoted && characters[i + 1] === '"') parts[parts.length - 1] += characters[++i];
    else if (c === '"') quoted = !quoted;
    // Only the first dot parts the names: a schema with one is written in quotes.
    else if (c === '.' && !quoted && parts.length === 1) parts.push('');
    else parts[parts.length - 1] += quoted ? literal(c) : (WILD[c] ?? literal(c));
  }
  const [first, second] = parts;
  const [schema, table] = second === undefined ? ['public', first] : [first, second];
  return { exclude, schema: `^${schema}$`, table: `^${table}$` };
}

const WILD: Readonly<Record<string, string>> = { '*': '.*', '?': '.' };

function literal(character: string): string {
  return character.replace(/[\\^$+()[\]{}|.*?]/, '\\$&');
}
