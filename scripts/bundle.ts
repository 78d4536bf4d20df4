// Puts the program together: few files instead of hundreds, because finding and linking modules was most of a start (ADR 9).
// `bundle.ts dist` makes what is published, `bundle.ts bench` the programs that are measured, in the same way.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type OutputChunk, rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Small libraries that every start needs, and what they need. All others are loaded from node_modules. */
const INLINED = [
  'commander',
  'yaml',
  'zod',
  'pino',
  '@pinojs/redact',
  'atomic-sleep',
  'on-exit-leak-free',
  'pino-abstract-transport',
  'pino-std-serializers',
  'process-warning',
  'quick-format-unescaped',
  'real-require',
  'safe-stable-stringify',
  'sonic-boom',
  'split2',
  'thread-stream',
];

/** Files that are started or imported by their own name: threads, and what a thread is told to load. */
const THREADS: Readonly<Record<string, string>> = {
  registry: 'src/cli/registry.ts',
  'thread-worker': 'src/pipeline/delivery/thread-worker.ts',
  'tree-worker': 'src/ledger/tree-worker.ts',
  'verify-worker': 'src/ledger/verify/verify-worker.ts',
};

const CONSUMERS = ['changetrail', 'changetrail-mongo', 'plain-node', 'plain-node-mongo'];

const TARGETS = {
  dist: { directory: 'dist/cli', entries: { main: 'src/cli/main.ts' } },
  bench: {
    directory: '.cache/bench-build',
    entries: Object.fromEntries(CONSUMERS.map((name) => [name, `bench/consumers/${name}.ts`])),
  },
};

/** `zod` of `zod/v4/core`, `@a/b` of `@a/b/c`. */
function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function isExternal(specifier: string): boolean {
  if (specifier.startsWith('.') || specifier.startsWith('/') || specifier.startsWith('\0')) return false;
  return !INLINED.includes(packageOf(specifier));
}

/** Licences ask for their text to go with the copy. */
function notices(chunks: readonly OutputChunk[]): string {
  const marker = 'node_modules/';
  const files = chunks.flatMap(({ moduleIds }) => moduleIds).filter((id) => id.includes(marker));
  const homes = new Set(
    files.map((id) => {
      const end = id.lastIndexOf(marker) + marker.length;
      return id.slice(0, end) + packageOf(id.slice(end));
    }),
  );
  return [...homes].sort().map(noticeOf).join('\n');
}

function noticeOf(home: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
  const file = ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license', 'LICENCE']
    .map((n) => join(home, n))
    .find(existsSync);
  if (file === undefined) throw new RangeError(`${name} has no licence text that could go with its copy`);
  return `${name} ${version} (${license})\n\n${readFileSync(file, 'utf8').trim()}\n`;
}

const target = TARGETS[process.argv[2] as keyof typeof TARGETS];
const directory = resolve(root, process.argv[3] ?? target.directory);
const inputs = Object.entries({ ...THREADS, ...target.entries });
const bundle = await rolldown({
  input: Object.fromEntries(inputs.map(([name, path]) => [name, join(root, path)])),
  platform: 'node',
  external: isExternal,
});
// All in one directory: a thread's file is looked for beside the one that starts it.
const { output } = await bundle.write({
  dir: directory,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
  sourcemap: true,
  // Another directory is the caller's.
  cleanDir: process.argv[3] === undefined,
});
const chunks = output.filter((part): part is OutputChunk => part.type === 'chunk');
writeFileSync(join(directory, 'THIRD-PARTY-NOTICES.txt'), notices(chunks));
