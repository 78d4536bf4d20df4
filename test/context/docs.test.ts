import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const PAGES = ['docs/guides/acting-user.md', 'docs/guides/acting-user-anywhere.md', 'docs/reference/actor-message.md'];

const lines = (text: string) => text.split('\n').map((line) => line.trim());

test('the guide shows the code of the example it is run from', () => {
  const blocks = [...read(PAGES[0] as string).matchAll(/<!-- from: (\S+) -->\n```ts\n([\s\S]*?)```/g)];
  expect(blocks.length).toBeGreaterThanOrEqual(4);
  for (const [, path, code] of blocks) {
    const source = lines(read(path as string));
    for (const line of lines(code as string).filter((text) => text !== '')) {
      // The example imports from the checkout and names the package's entry in a comment.
      const [, names, entry] = /^import \{ (.+) \} from ('changetrail.*');$/.exec(line) ?? [];
      const found = names
        ? source.some((own) => own.startsWith(`import { ${names} } from`) && own.includes(entry as string))
        : source.includes(line);
      expect(found, `${path}: ${line}`).toBe(true);
    }
  }
});

test('every link of the pages leads somewhere', () => {
  for (const page of PAGES) {
    for (const [, target] of read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      expect(existsSync(join(root, dirname(page), target as string)), `${page}: ${target}`).toBe(true);
    }
  }
});

test('every helper and middleware is in the reference, and has an example that is run', () => {
  const reference = read('docs/reference/actor-message.md');
  const internal = /^(actor|claim|index|message|options|pg-query|postgres-query|request|scope|signer|sql-text)\.ts$/;
  const entries = readdirSync(join(root, 'src/context')).filter((file) => !internal.test(file));
  expect(entries.length).toBeGreaterThanOrEqual(16);
  for (const file of entries) {
    const name = file.slice(0, -3);
    expect(reference.includes(`changetrail/context/${name}`) || reference.includes(`\`${name}\``), name).toBe(true);
  }
  const tests = read('test/context/examples.pg.test.ts') + read('test/context/mongodb.mongo.test.ts');
  for (const file of readdirSync(join(root, 'examples/context')).filter((name) => name.endsWith('.ts'))) {
    expect(tests.includes(`examples/context/${file}`), file).toBe(true);
    expect(reference.includes(`examples/context/${file}`), file).toBe(true);
  }
});
