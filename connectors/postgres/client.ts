import pg from 'pg';
import { clientConfig } from './connection-settings.ts';
import { postgresError } from './errors.ts';

/** A control query is small; a network that swallows its answer must not be waited for. */
const QUERY_TIMEOUT_MS = 60_000;
/** As long as timers go (24 days): for what waits for other transactions by its nature. */
const NO_TIMEOUT_MS = 0x7fff_ffff;
const END_MS = 2_000;

/** One ordinary connection for control queries, with errors of the project. */
export class ControlClient {
  readonly #client: pg.Client;
  readonly #name: string;
  #lost: unknown = null;

  private constructor(client: pg.Client, name: string) {
    this.#client = client;
    this.#name = name;
    client.on('error', (error) => {
      this.#lost = error;
    });
  }

  /** @throws AUD_PG_CONNECT, AUD_PG_AUTH */
  static async connect(url: string, name: string): Promise<ControlClient> {
    const client = new pg.Client({ ...clientConfig(url, name), query_timeout: QUERY_TIMEOUT_MS });
    const control = new ControlClient(client, name);
    try {
      await client.connect();
    } catch (cause) {
      await endClient(client);
      throw postgresError(cause, name);
    }
    return control;
  }

  /** @throws AUD_PG_SERVER and friends; never the values of a statement. */
  async query<Row>(
    sql: string,
    values: readonly unknown[] = [],
    waits: 'briefly' | 'long' = 'briefly',
  ): Promise<Row[]> {
    if (this.#lost !== null) throw postgresError(this.#lost, this.#name);
    try {
      const text = { text: sql, values: [...values], ...(waits === 'long' ? { query_timeout: NO_TIMEOUT_MS } : {}) };
      const result = await this.#client.query(text);
      return result.rows as Row[];
    } catch (cause) {
      throw postgresError(cause, this.#name);
    }
  }

  async close(): Promise<void> {
    await endClient(this.#client);
  }
}

/** Says goodbye; over a dead network nobody answers, then the socket is dropped. */
async function endClient(client: pg.Client): Promise<void> {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } };
  const timer = setTimeout(() => connection?.stream?.destroy(), END_MS);
  await client.end().catch(() => undefined);
  clearTimeout(timer);
}

/** Answers of IDENTIFY_SYSTEM: which cluster and which line of its history this is. */
export interface SystemIdentity {
  readonly systemId: string;
  readonly timeline: number;
  /** LSNs at which earlier timelines ended, by timeline. */
  readonly history: ReadonlyMap<number, string>;
}

/**
 * Asks over a replication connection, because that needs no right beyond REPLICATION.
 * @see https://www.postgresql.org/docs/current/protocol-replication.html
 */
export async function identifySystem(url: string, name: string): Promise<SystemIdentity> {
  const config = { ...clientConfig(url, name), query_timeout: QUERY_TIMEOUT_MS, replication: 'database' };
  const client = new pg.Client(config as pg.ClientConfig);
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query('IDENTIFY_SYSTEM');
    const row = rows[0] as { systemid: string; timeline: number };
    const timeline = Number(row.timeline);
    const history = timeline > 1 ? await timelineHistory(client, timeline) : new Map<number, string>();
    return { systemId: String(row.systemid), timeline, history };
  } catch (cause) {
    throw postgresError(cause, name);
  } finally {
    await endClient(client);
  }
}

/** Lines `timeline<TAB>lsn<TAB>reason` of the history file. */
async function timelineHistory(client: pg.Client, timeline: number): Promise<Map<number, string>> {
  const { rows } = await client.query(`TIMELINE_HISTORY ${timeline}`);
  const content = (rows[0] as { content?: unknown } | undefined)?.content;
  const text = Buffer.isBuffer(content) ? content.toString('utf8') : decodeBytea(String(content ?? ''));
  const history = new Map<number, string>();
  for (const line of text.split('\n')) {
    const match = /^(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/i.exec(line);
    if (match !== null) history.set(Number(match[1]), match[2]!);
  }
  return history;
}

function decodeBytea(text: string): string {
  return text.startsWith('\\x') ? Buffer.from(text.slice(2), 'hex').toString('utf8') : text;
}

/** An identifier as SQL takes it. */
export function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteLiteral(text: string): string {
  return pg.escapeLiteral(text);
}
