import { CATALOGS, REGISTRY_URL, SINKS, SOURCES } from '../../src/cli/registry.ts';
import { checkConfiguration } from '../../src/config/load.ts';
import { dataLayout } from '../../src/ledger/layout.ts';
import { runTrail } from '../../src/pipeline/run.ts';
import type { AuditRecord } from '../../src/record/schema.ts';
import { LedgerRecords } from './ledger-records.ts';
import { type MemoryLog, memoryLog } from './memory-log.ts';
import { type TemporaryDirectory, temporaryDirectory } from './tmp.ts';
import { until } from './wait.ts';

export type { AuditRecord } from '../../src/record/schema.ts';

const WAIT_MS = 120_000;

/** The whole program on one database, in this process, with a real ledger. `Change`: what a later start may change. */
export interface TrailCapture<Change extends unknown[] = []> extends AsyncDisposable {
  readonly data: string;
  readonly log: MemoryLog;
  /** What ended the program, or undefined while it runs or ended in order. */
  readonly failure: Error | undefined;
  /** Settles when the program ends; rejects with what ended it. */
  readonly done: Promise<unknown>;
  /** What stands in the ledger now, without markers. */
  records(): AuditRecord[];
  /** Waits until everything that is committed by now stands in the ledger; then as `records`. */
  caughtUp(): Promise<AuditRecord[]>;
  /** `change` records of the table or collection (or of all) after `caughtUp`. */
  changes(name?: string): Promise<AuditRecord[]>;
  /** Waits for the first record that fits; fails when the program ends before. */
  record(fits: (record: AuditRecord) => boolean, what: string): Promise<AuditRecord>;
  /** Ends in order: what was received is durable and, where that is told, confirmed. */
  stop(): Promise<void>;
  /** Ends at once. */
  abort(): Promise<void>;
  /** Starts again on the same ledger, after `stop` or `abort`. */
  start(...change: Change): Promise<void>;
}

export interface TrailRunOptions {
  /** Data directory to go on with; default: one of its own, removed at the end. */
  readonly data: string | undefined;
  /** More of the configuration beside `data` and `sources`. */
  readonly configuration: object | undefined;
  /** Records that only mark places, and are left out of the answers. */
  isMarker(record: AuditRecord): boolean;
}

interface Run {
  readonly drain: AbortController;
  readonly abort: AbortController;
  readonly done: Promise<unknown>;
  failure: Error | undefined;
}

/** Runs the program again and again on one data directory. */
export class TrailRun {
  readonly data: string;
  readonly log = memoryLog();
  readonly #options: TrailRunOptions;
  readonly #directory: TemporaryDirectory | null;
  readonly #ledger: LedgerRecords;
  #run: Run | undefined;

  private constructor(options: TrailRunOptions, directory: TemporaryDirectory | null) {
    this.#options = options;
    this.#directory = directory;
    this.data = options.data ?? directory!.join('data');
    this.#ledger = new LedgerRecords(dataLayout(this.data).segments);
  }

  static async prepare(options: TrailRunOptions): Promise<TrailRun> {
    return new TrailRun(options, options.data === undefined ? await temporaryDirectory() : null);
  }

  get failure(): Error | undefined {
    return this.#run?.failure;
  }

  get done(): Promise<unknown> {
    return this.#run?.done ?? Promise.resolve();
  }

  /** Every record, with the markers. */
  all(): readonly AuditRecord[] {
    return this.#ledger.read();
  }

  visible(): AuditRecord[] {
    return this.all().filter((record) => !this.#options.isMarker(record));
  }

  /** Asks again and again, but not after the program ended. */
  async wait<T>(condition: () => T | Promise<T>, what: string): Promise<Exclude<T, false | 0 | '' | null | undefined>> {
    const found = await until(
      async () => {
        const value = await condition();
        if (value) return { value };
        return this.failure !== undefined && { failure: this.failure };
      },
      { what, timeoutMs: WAIT_MS },
    );
    if ('failure' in found) throw found.failure;
    return found.value as Exclude<T, false | 0 | '' | null | undefined>;
  }

  /** Starts the program with one source; it is not waited for. */
  async launch(name: string, source: object): Promise<void> {
    const raw = { data: this.data, sources: { [name]: source }, ...this.#options.configuration };
    const configuration = await checkConfiguration(raw, this.data, CATALOGS, {});
    const [drain, abort] = [new AbortController(), new AbortController()];
    const done = runTrail({
      configuration,
      sources: SOURCES,
      sinks: SINKS,
      registry: REGISTRY_URL,
      log: this.log.log,
      drain: drain.signal,
      abort: abort.signal,
    });
    const started: Run = { drain, abort, done, failure: undefined };
    done.catch((error: Error) => {
      started.failure = error;
    });
    this.#run = started;
  }

  async end(how: 'drain' | 'abort'): Promise<void> {
    this.#run?.[how].abort();
    await this.#run?.done.catch(() => undefined);
  }

  async dispose(): Promise<void> {
    await this.end('drain');
    try {
      // Also what nobody asked for is a valid record.
      this.all();
    } finally {
      await this.#directory?.[Symbol.asyncDispose]();
    }
  }
}

/** How one engine is captured in a test. */
export interface CaptureParts<Change extends unknown[]> {
  readonly run: TrailRun;
  start(...change: Change | []): Promise<void>;
  /** Resolves when everything that is committed by now stands in the ledger. */
  catchUp(): Promise<void>;
  /** Table or collection of a change. */
  nameOf(record: AuditRecord): string | undefined;
}

/** Starts it and gives what a test asks of it. */
export async function beginCapture<Change extends unknown[]>(
  parts: CaptureParts<Change>,
): Promise<TrailCapture<Change | []>> {
  const { run, start, catchUp, nameOf } = parts;
  try {
    await start();
  } catch (error) {
    await run.end('abort');
    await run.dispose().catch(() => undefined);
    throw error;
  }
  const caughtUp = async () => {
    await catchUp();
    return run.visible();
  };
  return {
    data: run.data,
    log: run.log,
    get failure() {
      return run.failure;
    },
    get done() {
      return run.done;
    },
    records: () => run.visible(),
    caughtUp,
    changes: async (name) =>
      (await caughtUp()).filter((r) => r.kind === 'change' && (name === undefined || nameOf(r) === name)),
    record: (fits, what) => run.wait(() => run.visible().find(fits), what),
    stop: () => run.end('drain'),
    abort: () => run.end('abort'),
    start,
    [Symbol.asyncDispose]: () => run.dispose(),
  };
}
