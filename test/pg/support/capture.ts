import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CATALOGS, SINKS, SOURCES } from '../../../src/cli/registry.ts';
import { checkConfiguration } from '../../../src/config/load.ts';
import { dataLayout } from '../../../src/ledger/layout.ts';
import { runTrail } from '../../../src/pipeline/run.ts';
import { type AuditRecord, recordSchema } from '../../../src/record/schema.ts';
import { memoryLog } from '../../support/memory-log.ts';
import { queryUrl } from '../../support/postgres-server.ts';
import { temporaryDirectory } from '../../support/tmp.ts';
import { until } from '../../support/wait.ts';

export interface CaptureOptions {
  /** A superuser's URL. */
  readonly url: string;
  /** The URL Changetrail logs in with; default: `url`. */
  readonly as?: string;
  readonly tables?: readonly string[];
  readonly actors?: object;
}

/** The whole program on one database, writing a real ledger in a directory of its own. */
export interface Capture extends AsyncDisposable {
  /** Everything committed up to now, as records of the given tables' changes; waits until it is in the ledger. */
  changes(...tables: string[]): Promise<AuditRecord[]>;
  /** Changes of a table in the ledger's files now. Cheap: nothing is parsed. */
  count(table: string): number;
  /** What was logged, by event. */
  logged(event: string): number;
  /** Ends at once, in the middle of whatever it does. */
  kill(): Promise<void>;
  /** Stops in order if it runs, and starts again on the same ledger. */
  restart(): Promise<void>;
}

const MARKER = 'capture_marker';

/** Creates a marker table in the database, and starts. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const directory = await temporaryDirectory();
  const configuration = await checkConfiguration(
    {
      data: join(directory.path, 'data'),
      sources: {
        shop: {
          type: 'postgres',
          url: options.as ?? options.url,
          tables: options.tables ?? ['public.*'],
          setup: 'auto',
          check_interval: 1,
        },
      },
      ...(options.actors === undefined ? {} : { actors: options.actors }),
    },
    directory.path,
    CATALOGS,
  );
  await queryUrl(options.url, `create table if not exists public.${MARKER} (id text primary key)`);
  const log = memoryLog();
  const run = () => {
    const [drain, abort] = [new AbortController(), new AbortController()];
    const done = runTrail({
      configuration,
      sources: SOURCES,
      sinks: SINKS,
      log: log.log,
      drain: drain.signal,
      abort: abort.signal,
    });
    done.catch(() => undefined);
    return { drain, abort, done };
  };
  let running = run();
  const segments = dataLayout(configuration.data).segments;
  /** Writes a marker and waits until it is in the ledger: then everything committed before it is there, too. */
  const reachedEnd = async () => {
    const id = randomUUID();
    await queryUrl(options.url, `insert into public.${MARKER} values ($1)`, [id]);
    let failure: { readonly error: unknown } | undefined;
    running.done.catch((error: unknown) => {
      failure = { error };
    });
    await until(() => failure ?? readLines(segments).some((line) => line.includes(`"key":{"id":"${id}"}`)), {
      what: 'the marker to be in the ledger',
      timeoutMs: 60_000,
    });
    if (failure !== undefined) throw failure.error;
  };
  const failed = running.done.then(() => Promise.reject(new Error('the capture ended')));
  await Promise.race([failed, until(() => slotExists(options.url), { what: 'the slot to be in use' })]);
  await reachedEnd();
  return {
    changes: async (...tables) => {
      await reachedEnd();
      return readRecords(segments).filter(
        (record) => record.kind === 'change' && tables.includes(record.object.table ?? ''),
      );
    },
    count: (table) => {
      const marks = ['"kind":"change"', `"table":${JSON.stringify(table)}`];
      return readLines(segments).filter((line) => marks.every((mark) => line.includes(mark))).length;
    },
    kill: async () => {
      running.abort.abort();
      await running.done.catch(() => undefined);
    },
    logged: (event) => log.count(event),
    restart: async () => {
      running.drain.abort();
      await running.done;
      running = run();
    },
    [Symbol.asyncDispose]: async () => {
      running.drain.abort();
      await running.done.catch(() => undefined);
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function slotExists(url: string): Promise<boolean> {
  const { rows } = await queryUrl(
    url,
    'select 1 from pg_replication_slots where database = current_database() and active',
  );
  return rows.length > 0;
}

/** All complete records; each is checked against the schema. */
function readRecords(segments: string): AuditRecord[] {
  return readLines(segments).map((line) => recordSchema.parse(JSON.parse(line)));
}

function readLines(segments: string): string[] {
  return readdirSync(segments)
    .sort()
    .flatMap((name) => readFileSync(join(segments, name), 'utf8').split('\n').slice(0, -1));
}
