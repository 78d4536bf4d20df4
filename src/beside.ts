/**
 * URL of the file `name` that stands beside the module `from` (its `import.meta.url`): a `.ts` in a checkout, a `.js` in the
 * package, where all files stand beside each other whatever module they hold (scripts/bundle.ts).
 */
export function beside(from: string, name: string): URL {
  return new URL(`./${name}${from.endsWith('.ts') ? '.ts' : '.js'}`, from);
}
