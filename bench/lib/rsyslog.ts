// rsyslog as a peer of the sinks: it tails the ledger's segments and sends the lines as they stand.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cachePath } from '../../test/support/cache.ts';

/** Where rsyslog sends lines to; `ready` says when all of them have arrived. */
export interface RsyslogTarget {
  /** Output module and action, in rsyslog's own words; the template `line` is a record as it stands. */
  readonly module: string | null;
  readonly action: string;
  arrived(): Promise<number>;
}

const LIMIT_MS = 120_000;

/** The folder that holds rsyslog, or the reason why it cannot be had. */
export function rsyslogHome(): string | { readonly absent: string } {
  const script = fileURLToPath(new URL('../peers/rsyslog/build.sh', import.meta.url));
  try {
    const env = { ...process.env, RECEIVERS_CACHE: process.env['RECEIVERS_CACHE'] ?? cachePath('receivers') };
    return execFileSync(script, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch (error) {
    return { absent: `rsyslog could not be unpacked here (${(error as Error).message.split('\n')[0]}).` };
  }
}

/** Sends every record of the segments through rsyslog; seconds, its start included. */
export async function drainByRsyslog(
  home: string,
  segments: string,
  work: string,
  target: RsyslogTarget,
  records: number,
): Promise<number> {
  const conf = join(work, 'rsyslog.conf');
  writeFileSync(conf, configuration(segments, work, target));
  const libraries = join(home, 'usr', 'lib', `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`);
  const before = await target.arrived();
  const started = performance.now();
  const child = spawn(
    join(home, 'usr/sbin/rsyslogd'),
    ['-n', '-f', conf, '-i', join(work, 'pid'), '-M', join(libraries, 'rsyslog')],
    { env: { ...process.env, LD_LIBRARY_PATH: libraries }, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  try {
    while ((await target.arrived()) - before < records) {
      if (child.exitCode !== null) throw new RangeError(`rsyslog ended with ${child.exitCode}`);
      if (performance.now() - started > LIMIT_MS) throw new RangeError('rsyslog did not send everything in time');
      await sleep(20);
    }
    return (performance.now() - started) / 1000;
  } finally {
    const ended = once(child, 'exit');
    if (child.exitCode === null && child.kill('SIGKILL')) await ended;
  }
}

function configuration(segments: string, work: string, { module, action }: RsyslogTarget): string {
  return `global(workDirectory="${work}" maxMessageSize="256k" parser.escapeControlCharactersOnReceive="off")
main_queue(queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="5000")
module(load="imfile" mode="inotify")
${module === null ? '' : `module(load="${module}")`}
template(name="line" type="string" string="%msg%")
template(name="text" type="string" string="%msg%\\n")
ruleset(name="out") { ${action} }
input(type="imfile" file="${segments}/*.ndjson" tag="changetrail" ruleset="out" freshStartTail="off")
`;
}
