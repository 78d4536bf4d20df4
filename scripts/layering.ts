// Holds the imports between folders to the table in ARCHITECTURE.md. Prints each breach and exits 1.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';

const root = join(import.meta.dirname, '..');

interface Rule {
  /** Folder the rule is for. */
  readonly folder: string;
  /** Folders it may import from, beside itself; absent: all but `never`. */
  readonly only?: readonly string[];
  readonly never?: readonly string[];
  /** Files that may break it, with the reason. */
  readonly except?: Readonly<Record<string, string>>;
}

const CONNECTOR = ['src/core', 'src/record', 'src/errors', 'src/telemetry', 'src/wait.ts'];

const RULES: readonly Rule[] = [
  { folder: 'connectors/postgres', only: CONNECTOR },
  { folder: 'connectors/mongodb', only: CONNECTOR },
  // Types only: the interfaces name the writer and the logger they hand on.
  { folder: 'src/core', only: ['src/record', 'src/telemetry', 'src/errors'] },
  { folder: 'src/errors', only: [] },
  { folder: 'src/telemetry', only: ['src/errors'] },
  { folder: 'src/record', only: ['src/errors'] },
  { folder: 'src/context', only: [] },
  { folder: 'src/actor', only: ['src/core', 'src/record', 'src/errors', 'src/context'] },
  {
    folder: 'src/sinks',
    never: ['connectors', 'src/cli', 'src/ledger', 'src/demo'],
    except: { 'src/sinks/file.ts': 'durable file work is done in one place only' },
  },
  { folder: 'src/ledger', never: ['connectors', 'src/sinks', 'src/cli', 'src/demo', 'src/pipeline'] },
  { folder: 'src/pipeline', never: ['connectors', 'src/cli', 'src/demo'] },
  { folder: 'src/config', never: ['connectors', 'src/cli', 'src/demo', 'src/pipeline/run.ts'] },
];

const CONCRETE = /^(connectors\/|src\/sinks\/(?!shared\/))/;

function sourceFiles(directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return sourceFiles(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g)].map((match) => match[1]!);
  return found.map((path) => relative(root, join(root, dirname(file), path)));
}

const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`);

const breaches: string[] = [];
for (const file of [...sourceFiles('src'), ...sourceFiles('connectors')]) {
  const rule = RULES.find((candidate) => within(file, candidate.folder) && candidate.except?.[file] === undefined);
  for (const target of importsOf(file)) {
    if (rule !== undefined && !within(target, rule.folder)) {
      const allowed = rule.only === undefined || rule.only.some((folder) => within(target, folder));
      const forbidden = rule.never?.some((folder) => within(target, folder)) === true;
      if (!allowed || forbidden) breaches.push(`${file} imports ${target}`);
    }
    const own = dirname(file).split('/').slice(0, 2).join('/');
    if (CONCRETE.test(target) && !within(target, own) && !within(file, 'src/sinks') && file !== 'src/cli/registry.ts') {
      breaches.push(`${file} names ${target}; only src/cli/registry.ts may`);
    }
  }
}
for (const breach of breaches) process.stderr.write(`layering: ${breach}\n`);
process.exitCode = breaches.length > 0 ? 1 : 0;
