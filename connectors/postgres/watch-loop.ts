// When the source is looked at: at each check interval, and at once where a write of the application may fail.
import { AuditError, messageOf } from '../../src/errors/audit-error.ts';
import { wait } from '../../src/wait.ts';
import type { CaptureContext } from './capture-context.ts';
import type { ControlClient } from './client.ts';
import type { SessionWatch } from './session-watch.ts';
import { watchOnce } from './watch.ts';

export interface WatchLoopOptions {
  readonly context: CaptureContext;
  readonly sessions: SessionWatch;
  /** The control connection, made anew when it was lost. */
  client(): Promise<ControlClient>;
  /** The connection is not to be used again. */
  disconnect(): Promise<void>;
}

/** What a look finds that the stream cannot go on with. */
const ENDS_STREAM: ReadonlySet<string> = new Set([
  'AUD_PG_PUBLICATION_LOST',
  'AUD_PG_PUBLICATION_ADDED',
  'AUD_PG_SLOT_LOST',
]);

/** Least time between two questions whether a write is in danger. */
const PROBE_MS = 1_000;
/** The question takes at most this part of the server's time, however many tables there are. */
const PROBE_SHARE = 1 / 50;

/**
 * A published table that has lost its key, or got a row filter or a column list without it, makes UPDATE and DELETE of the
 * application fail until it is taken out. Nothing of such a statement is in the log, so the catalog is asked.
 */
function endangeredSql(serverMajor: number): string {
  const restricted = serverMajor >= 15 ? 'r.prqual is not null or r.prattrs is not null or' : '';
  // With REPLICA IDENTITY FULL, a virtual generated column that came later.
  const virtual = `exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attgenerated = 'v' and not a.attisdropped)`;
  const index = (which: string) =>
    `not exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisvalid and ${which})`;
  return `
select exists (select from pg_catalog.pg_publication p
  join pg_catalog.pg_publication_rel r on r.prpubid = p.oid join pg_catalog.pg_class c on c.oid = r.prrelid
  where p.pubname = any($1::name[]) and (${restricted} (p.pubupdate or p.pubdelete) and c.relkind = 'r' and
    case c.relreplident when 'd' then ${index('i.indisprimary and i.indimmediate')}
      when 'i' then ${index('i.indisreplident')} ${serverMajor >= 18 ? `when 'f' then ${virtual}` : ''} else c.relreplident = 'n' end)) as endangered`;
}

export class WatchLoop {
  readonly #options: WatchLoopOptions;
  readonly #warned = new Set<string>();
  readonly #sql: string;
  #woken = new AbortController();
  #endangered = false;
  #pauseMs = PROBE_MS;

  constructor(options: WatchLoopOptions) {
    this.#options = options;
    this.#sql = endangeredSql(options.context.facts.major);
  }

  /** The stream has seen something that makes a look worth while now. */
  wake(): void {
    this.#woken.abort();
  }

  /** Looks again and again until the signal aborts; a lost control connection is made anew. @throws what ends the stream */
  async run(signal: AbortSignal): Promise<void> {
    const { context, sessions, client: connect } = this.#options;
    const intervalMs = context.options.check_interval * 1000;
    let due = Date.now() + intervalMs;
    while (!signal.aborted) {
      const pauseMs = Math.min(this.#pauseMs, Math.max(0, due - Date.now()));
      await wait(pauseMs, AbortSignal.any([signal, this.#woken.signal]));
      if (signal.aborted) return;
      try {
        const client = await connect();
        if (Date.now() < due && !(await this.#early(client))) continue;
        await watchOnce(client, context, this.#warned);
        await sessions.look(client);
      } catch (error) {
        if (signal.aborted) return;
        await this.#failed(error);
        this.#pauseMs = intervalMs;
      }
      due = Date.now() + intervalMs;
    }
  }

  /** Whether to look before it is due. */
  async #early(client: ControlClient): Promise<boolean> {
    const { context } = this.#options;
    const { publication, insertPublication } = context.options;
    const woken = this.#woken.signal.aborted;
    if (woken) this.#woken = new AbortController();
    const began = performance.now();
    const [row] = await client.query<{ endangered: boolean }>(this.#sql, [[publication, insertPublication]]);
    this.#pauseMs = Math.max(PROBE_MS, (performance.now() - began) / PROBE_SHARE);
    const danger = row!.endangered && !this.#endangered;
    this.#endangered = row!.endangered;
    if (!woken && !danger) return false;
    context.log.debug({ event: 'looked_early', why: woken ? 'stream' : 'catalog' }, 'Looks at the tables at once.');
    return true;
  }

  async #failed(error: unknown): Promise<void> {
    const { context, disconnect } = this.#options;
    const failure = error instanceof AuditError ? error : null;
    if (failure !== null && ENDS_STREAM.has(failure.code)) throw failure;
    this.#woken = new AbortController();
    // The stream itself tells when the server is gone; a look that failed is only made again.
    context.log.warn(
      { event: 'watch_failed', code: failure?.code, action: failure?.action },
      `Could not look at the tables of ${context.options.name}, or put them right: ${messageOf(error)}`,
    );
    await disconnect();
  }
}
