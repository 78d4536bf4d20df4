// A PostgreSQL source: what has to be there, where to start, and the stream that follows.
import type {
  CheckReport,
  Connector,
  ResumePoint,
  SessionContextRequest,
  SourceHost,
  SourceStream,
} from '../../src/core/connector.ts';
import { envelopeCompiler, isoMillis } from '../../src/record/envelope.ts';
import { warnOfPatterns } from './announce.ts';
import type { CaptureContext } from './capture-context.ts';
import { checkPostgres } from './check.ts';
import { ControlClient } from './client.ts';
import { clientConfig } from './connection-settings.ts';
import { PgoutputDecoder } from './decode/pgoutput.ts';
import { compileRelation, type RelationMessage, tableDefinition } from './decode/relation.ts';
import { describeRelation } from './describe.ts';
import { type Undecodable, undecodable } from './errors.ts';
import { formatLsn } from './lsn.ts';
import { type Opened, openSource } from './opening.ts';
import { type PostgresOptions, type ResolvedPostgres, resolvePostgres } from './options.ts';
import { type TableMatcher, tableMatcher } from './patterns.ts';
import { readServerFacts } from './preflight.ts';
import { schemaChange, withNumbers } from './schema-changes.ts';
import { writeSchemaRecord } from './schema-record.ts';
import {
  applyRemoval,
  applySessionContext,
  readSessionContext,
  removeSessionContextSql,
  sessionContextSql,
} from './session-context.ts';
import { SessionWatch } from './session-watch.ts';
import { slotStatement } from './setup.ts';
import { readSlot } from './slot.ts';
import { PostgresStream } from './stream.ts';
import { lookAround } from './surroundings.ts';
import { survey } from './survey.ts';
import { WatchLoop } from './watch-loop.ts';

export function createPostgresConnector(options: PostgresOptions, host: SourceHost): Connector {
  return new PostgresConnector(resolvePostgres(host.name, options), host);
}

class PostgresConnector implements Connector {
  readonly #options: ResolvedPostgres;
  readonly #host: SourceHost;
  readonly #matcher: TableMatcher;
  #control: ControlClient | null = null;
  #warnedPatterns = false;
  /** What this process opened last; it saw more of the publication than what is kept. */
  #last: CaptureContext | null = null;
  /** Why the server could not send what comes next. */
  #undecodable: Undecodable | null = null;

  constructor(options: ResolvedPostgres, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    // Bad settings are said before anything is connected.
    clientConfig(options.url, options.name);
    this.#matcher = tableMatcher(options.tables);
  }

  async check(): Promise<CheckReport> {
    return checkPostgres(this.#options, this.#host.actors.settings);
  }

  async plan(): Promise<readonly string[]> {
    return this.#briefly(async (client) => {
      const facts = await readServerFacts(client);
      const around = await lookAround(client, { options: this.#options, facts, matcher: this.#matcher });
      const slot = await readSlot(client, this.#options.slot);
      return [...around.plan.statements, ...(slot === null ? [slotStatement(this.#options.slot)] : [])];
    });
  }

  async sessionContext(request: SessionContextRequest): Promise<readonly string[]> {
    return this.#briefly(async (client) => {
      const state = await readSessionContext(client, this.#matcher);
      if (request.remove) {
        if (request.apply) await applyRemoval(client, state.attached);
        return removeSessionContextSql(state.attached);
      }
      const facts = await readServerFacts(client);
      const { settings } = request;
      const options = { tables: state.missing, patterns: this.#options.tables, settings, reader: facts.user };
      if (request.apply) await applySessionContext(client, options);
      return sessionContextSql(options);
    });
  }

  async open(resume: ResumePoint, signal: AbortSignal): Promise<SourceStream> {
    await this.close();
    const client = await this.#client();
    const abort = () => void client.close();
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await this.#open(client, resume, signal);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async #open(client: ControlClient, resume: ResumePoint, signal: AbortSignal): Promise<SourceStream> {
    const host = this.#host;
    const [options, matcher] = [this.#options, this.#matcher];
    const looks = {
      options,
      matcher,
      resume,
      seen: this.#last?.published.seen ?? null,
      undecodable: this.#undecodable,
    };
    const seen = await survey(client, looks, signal);
    const sessions = new SessionWatch({ name: options.name, actors: host.actors, matcher, log: host.log });
    await sessions.look(client);
    if (!this.#warnedPatterns) warnOfPatterns(seen.around.selection, host.log);
    this.#warnedPatterns = true;
    const opened = await openSource(client, seen, { options, matcher, host, resume, last: this.#last });
    this.#undecodable = null;
    this.#last = opened.context;
    return this.#stream(opened, sessions);
  }

  #stream(opened: Opened, sessions: SessionWatch): SourceStream {
    const host = this.#host;
    const { options, facts, streamed } = opened.context;
    const watch = new WatchLoop({
      context: opened.context,
      sessions,
      client: () => this.#client(),
      disconnect: () => this.close(),
    });
    const decoder = this.#decoder(opened);
    return new PostgresStream({
      name: options.name,
      client: clientConfig(options.url, options.name),
      slot: options.slot,
      publications: [...streamed],
      from: opened.start,
      decoder,
      rawText: facts.encoding === 'SQL_ASCII',
      output: host.output,
      metrics: host.metrics,
      describe: this.#describer(opened, decoder, watch),
      watch: (signal) => watch.run(signal),
      failed: (error) => {
        this.#undecodable = undecodable(error);
      },
      now: host.now,
    });
  }

  #decoder({ context: { facts }, state, held }: Opened): PgoutputDecoder {
    const host = this.#host;
    const { idPrefix, source } = this.#origin(facts.database, state.lineage);
    const checkUtf8 = facts.encoding === 'SQL_ASCII';
    return new PgoutputDecoder({
      output: host.output,
      actors: host.actors,
      idPrefix,
      source,
      held,
      checkUtf8,
      now: host.now,
    });
  }

  /** First part of every id, and the `source` of every record. */
  #origin(database: string, lineage: number) {
    const { name } = this.#options;
    const idPrefix = lineage === 1 ? name : `${name}@${lineage}`;
    return { idPrefix, source: { name, engine: 'postgres', database } };
  }

  /** Compiles a relation that the stream describes, and records how it differs from what was known of the table. */
  #describer({ context, state }: Opened, decoder: PgoutputDecoder, watch: WatchLoop) {
    const host = this.#host;
    const { known, types, facts, limits } = context;
    const schemaEnvelope = envelopeCompiler({ ...this.#origin(facts.database, state.lineage), kind: 'schema' });
    return async (message: RelationMessage): Promise<void> => {
      // A key that was there at the last look is gone: the next UPDATE or DELETE may fail because of us.
      const keyless = message.identity !== 'full' && !message.columns.some((column) => column.identity);
      if (keyless && !limits.has(message.oid)) watch.wake();
      const details = await describeRelation(await this.#client(), types, message);
      decoder.setRelation(compileRelation(message, details, host.actors.rowRule(message.schema, message.table)));
      const before = known.get(message.oid);
      const definition = tableDefinition(message, details);
      const after = withNumbers(before, { schema: message.schema, table: message.table, definition });
      const change = schemaChange(before, after);
      if (change === null) return;
      known.set(after);
      const place = decoder.place;
      if (place !== null && !place.held) {
        const lsn = formatLsn(place.lsn);
        const fragments = schemaEnvelope({
          position: lsn,
          time: place.time,
          captured: isoMillis(host.now()),
          source: `,"lsn":"${lsn}","tx":"${place.tx}"`,
        });
        writeSchemaRecord(host.output, fragments, place.seq, message.oid, change, after);
      }
      context.remember();
    };
  }

  /** The connection for questions beside the stream; made when it is needed. */
  async #client(): Promise<ControlClient> {
    this.#control ??= await ControlClient.connect(this.#options.url, this.#options.name);
    return this.#control;
  }

  /** Work on a connection of its own. */
  async #briefly<T>(work: (client: ControlClient) => Promise<T>): Promise<T> {
    const client = await ControlClient.connect(this.#options.url, this.#options.name);
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }

  async close(): Promise<void> {
    const control = this.#control;
    this.#control = null;
    await control?.close();
  }
}
