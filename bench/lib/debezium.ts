import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The command of Debezium's embedded engine, built on first use with Maven and a JDK; a reason as text where that fails. */
export function debeziumCommand(engine: 'postgres' | 'mongo'): readonly string[] | string {
  const home = join(process.env['CHANGETRAIL_CACHE'] ?? join(here, '..', '.cache'), 'debezium');
  try {
    if (!existsSync(join(home, 'classes', 'Run.class'))) {
      mkdirSync(home, { recursive: true });
      cpSync(join(here, 'peers', 'debezium'), home, { recursive: true });
      execFileSync('mvn', ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=lib'], {
        cwd: home,
        stdio: 'ignore',
      });
      execFileSync('javac', ['-nowarn', '-cp', 'lib/*', '-d', 'classes', 'Run.java'], { cwd: home, stdio: 'ignore' });
    }
  } catch (error) {
    return `Debezium could not be built here (${(error as Error).message.split('\n')[0]}).`;
  }
  return [
    'java',
    '-Xmx1g',
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-cp',
    `${home}/classes:${home}/lib/*`,
    'Run',
    engine,
  ];
}
