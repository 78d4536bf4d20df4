#!/usr/bin/env node
// The one entry of every npm script. It runs on any Node from 18 on, fetches what is missing (dependencies, Node 24)
// and then hands over to Node 24. Nothing is installed outside the checkout.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 24;
/** The Node that runs everything where the machine's own is older; npm packages `node-<platform>-<arch>` carry it. */
const NODE_VERSION = '24.21.0';
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = process.env.CHANGETRAIL_CACHE ?? join(root, '.cache');
const bin = (name) => join(root, 'node_modules', name);
const say = (text) => process.stderr.write(`${text}\n`);

function run(command, args) {
  const result = spawnSync(command, args, { stdio: 'inherit', cwd: root });
  if (result.error) cannotRun(command, result.error);
  return result.status ?? 3;
}

function cannotRun(command, error) {
  say(`changetrail: cannot run ${command}: ${error.message}`);
  giveUp();
}

const downloads = new Set();

/** Ends, and with it what is still being fetched: half of what is needed is of no use. */
function giveUp() {
  for (const child of downloads) child.kill();
  process.exit(3);
}

/** Runs npm, which is found beside the Node that runs this script, or on PATH; its exit code. */
function npm(args) {
  const cli = process.env.npm_execpath;
  const all = [...args, '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  const [command, ...rest] = cli?.endsWith('.js') ? [process.execPath, cli, ...all] : ['npm', ...all];
  const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'inherit'], cwd: root });
  downloads.add(child);
  return new Promise((resolve) => {
    child
      .once('error', (error) => cannotRun(command, error))
      .once('exit', (code) => {
        downloads.delete(child);
        resolve(code ?? 3);
      });
  });
}

/**
 * Dependencies are installed when what npm noted as installed differs from the lockfile; `plain`: without those of developing,
 * the clients of the sinks among them.
 */
async function ensureDependencies(plain) {
  const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
  const noted = join(root, 'node_modules', '.package-lock.json');
  const installed = existsSync(noted) ? packagesOf(noted) : {};
  const wanted = Object.entries(packagesOf(join(root, 'package-lock.json'))).filter(([path]) => path !== '');
  // npm leaves out the optional packages of other platforms.
  const mayMiss = ({ optional, dev, devOptional }) => optional || (plain && (dev || devOptional));
  if (wanted.every(([path, entry]) => installed[path]?.version === entry.version || mayMiss(entry))) return;
  say('changetrail: installing dependencies (once) …');
  if ((await npm(plain ? ['ci', '--omit=dev'] : ['ci'])) !== 0) giveUp();
}

/** The path of a Node of the wanted major: this one, or the one npm carries. */
async function ensureNode() {
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath;
  const home = join(cache, `node-${NODE_VERSION}`);
  const os = process.platform === 'win32' ? 'win' : process.platform;
  const name = `node-${os}-${process.arch}`;
  const path = join(home, 'node_modules', name, 'bin', os === 'win' ? 'node.exe' : 'node');
  if (existsSync(path)) return path;
  say(`changetrail: this is Node ${process.versions.node}; fetching Node ${NODE_VERSION} (once) …`);
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'package.json'), '{"private":true}\n');
  if ((await npm(['install', '--prefix', home, `${name}@${NODE_VERSION}`])) !== 0 || !existsSync(path)) {
    rmSync(home, { recursive: true, force: true });
    say(`changetrail: Node ${NODE_MAJOR} could not be fetched; install it and run this again.`);
    giveUp();
  }
  return path;
}

const [task = 'help', ...args] = process.argv.slice(2);
// Both at once: on a machine that has neither, it is the waiting that takes long. A first look waits for no more than it needs.
const [node] = await Promise.all([ensureNode(), ensureDependencies(task === 'demo')]);
process.env.PATH = `${dirname(node)}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH}`;
const bundle = (target) => onNode(join(root, 'scripts/bundle.ts'), [target]);
const onNode = (file, rest = []) => run(node, ['--disable-warning=ExperimentalWarning', file, ...rest]);

const tasks = {
  /** Any TypeScript or JavaScript file of the checkout, on Node 24. */
  exec: () => onNode(args[0], args.slice(1)),
  changetrail: () => onNode(join(root, 'src/cli/main.ts'), args),
  demo: () => onNode(join(root, 'src/cli/main.ts'), ['demo', ...args]),
  test: () => onNode(bin('vitest/vitest.mjs'), ['run', ...args]),
  /** What is measured is put together as a user installs it. */
  bench: () => bundle('bench') || onNode(join(root, 'bench/run.ts'), args),
  generate: () => onNode(join(root, 'scripts/generate.ts'), args),
  types: () => onNode(bin('typescript/bin/tsc'), ['-p', '.', '--noEmit']),
  lint: () => onNode(bin('@biomejs/biome/bin/biome'), ['check', ...args]),
  format: () => onNode(bin('@biomejs/biome/bin/biome'), ['check', '--write', ...args]),
  build: () => {
    rmSync(join(root, 'dist'), { recursive: true, force: true });
    return bundle('dist') || onNode(bin('typescript/bin/tsc'), ['-p', 'tsconfig.build.json']);
  },
  /** Format, lint, types, layering and generated files: what must hold before a commit. */
  check: () =>
    tasks.lint() ||
    tasks.types() ||
    onNode(join(root, 'scripts/layering.ts')) ||
    onNode(join(root, 'scripts/generate.ts'), ['--check']),
};

if (!(task in tasks)) {
  say(`changetrail: unknown task "${task}"; one of ${Object.keys(tasks).join(', ')}`);
  process.exit(2);
}
process.exitCode = tasks[task]();
