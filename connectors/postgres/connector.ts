// A PostgreSQL source: what has to be there, where to start, and the stream that follows.
import type {
  CheckReport,
  Connector,
  ResumePoint,
  SessionContextRequest,
  SourceHost,
  SourceStream,
} from '../../src/core/connector.ts';
import { AuditError, messageOf } from '../../src/errors/audit-error.ts';
import { envelopeCompiler, isoMillis } from '../../src/record/envelope.ts';
import { checkPostgres } from './check.ts';
import { ControlClient, clientConfig, identifySystem } from './client.ts';
import { type Continuity, decideContinuity, publishedUpTo, type SourceState } from './continuity.ts';
import { type Held, PgoutputDecoder } from './decode/pgoutput.ts';
import { compileRelation, type RelationMessage, tableDefinition } from './decode/relation.ts';
import { describeRelation } from './describe.ts';
import { formatLsn, maxLsn, parseLsn } from './lsn.ts';
import { type PostgresOptions, type ResolvedPostgres, resolvePostgres } from './options.ts';
import { tableMatcher } from './patterns.ts';
import { readServerFacts, requireCapable } from './preflight.ts';
import { KnownTables, schemaChange, withNumbers } from './schema-changes.ts';
import { writeSchemaRecord } from './schema-record.ts';
import {
  applyRemoval,
  applySessionContext,
  readSessionContext,
  removeSessionContextSql,
  sessionContextSql,
} from './session-context.ts';
import { SessionWatch } from './session-watch.ts';
import { applyStatements, dropSlotStatement, slotStatement } from './setup.ts';
import { checkSlotIsOurs, createSlot, readSlot, type SlotState } from './slot.ts';
import { sourceState, standsAt } from './standing.ts';
import { PostgresStream } from './stream.ts';
import { TypeCatalog } from './types.ts';
import {
  attach,
  currentLsn,
  lookAround,
  type Published,
  publicationLost,
  recordDetached,
  recordLimits,
  recordNarrowed,
  recordTableGaps,
  type Surroundings,
  streamedTables,
  type WatchContext,
  watchOnce,
} from './watch.ts';

export function createPostgresConnector(options: PostgresOptions, host: SourceHost): Connector {
  return new PostgresConnector(resolvePostgres(host.name, options), host);
}

class PostgresConnector implements Connector {
  readonly #options: ResolvedPostgres;
  readonly #host: SourceHost;
  #control: ControlClient | null = null;
  #warnedPatterns = false;
  #sessions: SessionWatch | null = null;
  /** What this process saw last of the publication, newer than what is kept. */
  #published: Published | null = null;
  /** The server could not decode what comes next, because there was no publication at that point of the log. */
  #publicationFailed = false;

  constructor(options: ResolvedPostgres, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    // Bad settings are said before anything is connected.
    clientConfig(options.url, options.name);
  }

  async check(): Promise<CheckReport> {
    return checkPostgres(this.#options, this.#host.actors.settings);
  }

  async plan(): Promise<readonly string[]> {
    const client = await ControlClient.connect(this.#options.url, this.#options.name);
    try {
      const facts = await readServerFacts(client);
      const matcher = tableMatcher(this.#options.tables);
      const around = await lookAround(client, { options: this.#options, facts, matcher });
      const slot = await readSlot(client, this.#options.slot);
      return [...around.plan.statements, ...(slot === null ? [slotStatement(this.#options.slot)] : [])];
    } finally {
      await client.close();
    }
  }

  async sessionContext(request: SessionContextRequest): Promise<readonly string[]> {
    const client = await ControlClient.connect(this.#options.url, this.#options.name);
    try {
      const state = await readSessionContext(client, tableMatcher(this.#options.tables));
      if (request.remove) {
        if (request.apply) await applyRemoval(client, state.attached);
        return removeSessionContextSql(state.attached);
      }
      const facts = await readServerFacts(client);
      const { settings } = request;
      const options = { tables: state.missing, patterns: this.#options.tables, settings, reader: facts.user };
      if (request.apply) await applySessionContext(client, options);
      return sessionContextSql(options);
    } finally {
      await client.close();
    }
  }

  async open(resume: ResumePoint, signal: AbortSignal): Promise<SourceStream> {
    const { url, name } = this.#options;
    await this.close();
    const client = await ControlClient.connect(url, name);
    this.#control = client;
    const abort = () => void client.close();
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await this.#open(client, resume);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async #open(client: ControlClient, resume: ResumePoint): Promise<SourceStream> {
    const options = this.#options;
    const { log } = this.#host;
    const facts = await readServerFacts(client);
    requireCapable(facts, options.name);
    const identity = await identifySystem(options.url, options.name);
    const matcher = tableMatcher(options.tables);
    this.#sessions = new SessionWatch({ name: options.name, actors: this.#host.actors, matcher, log });
    await this.#sessions.look(client);
    const looked = await currentLsn(client);
    const around = await lookAround(client, { options, facts, matcher });
    this.#warnOfPatterns(around);
    const slot = await this.#freeSlot(client, facts.database);
    const before = standsAt(resume);
    const kept = sourceState(resume, this.#published);
    const continuity = decideContinuity({
      stands: before.stands,
      state: kept,
      identity,
      serverEnd: facts.end,
      slot,
      publication: before.stands === null ? 'kept' : this.#publicationNow(around, kept),
      ledgerBehind: resume.ledgerBehind,
    });
    const otherTables = continuity.gap?.cause === 'other_cluster' || kept?.systemId !== resume.state?.['systemId'];
    const known = KnownTables.restore(
      otherTables ? undefined : resume.state?.['tables'],
      continuity.gap?.cause === 'other_cluster' ? [] : resume.schemas,
    );
    const state: SourceState = {
      systemId: identity.systemId,
      timeline: identity.timeline,
      lineage: (kept?.lineage ?? 1) + (continuity.newLineage ? 1 : 0),
    };
    const context: WatchContext = {
      options,
      facts,
      matcher,
      types: new TypeCatalog(),
      known,
      published: {
        seen: looked,
        keptAt: this.#host.now(),
        joinAt: null,
        publication: around.mainOid,
        lost: new Map(),
      },
      streamed: new Set(),
      limits: new Map(),
      output: this.#host.output,
      log,
      remember: () => this.#remember(state, context),
    };
    const published = formatLsn(publishedUpTo(kept, before.stands ?? parseLsn(looked)));
    if (options.setup === 'manual' && around.mainExists) recordTableGaps(around.plan, published, null, context);
    this.#requireAllowed(around, slot, continuity);
    const from = await this.#setUp(client, around, slot, continuity);
    this.#publicationFailed = false;
    this.#recordGap(
      continuity,
      continuity.gap?.cause === 'publication_replaced' ? parseLsn(looked) : from,
      facts.database,
    );
    if (!around.plan.creates && continuity.gap === null && around.plan.added.length > 0) {
      recordTableGaps(around.plan, published, await currentLsn(client), context);
    }
    if (around.plan.narrowed && before.stands !== null && continuity.gap === null) {
      recordNarrowed(published, options.setup === 'auto' ? await currentLsn(client) : null, context);
    }
    const set = await lookAround(client, context);
    context.published.publication = set.mainOid;
    // A publication that the slot's place in the log may lie before is joined later.
    const reads = continuity.newSlot || before.stands === null ? undefined : kept?.streamed;
    for (const name of set.publications) {
      if (name === options.publication || reads === undefined || reads.includes(name)) context.streamed.add(name);
    }
    this.#published = context.published;
    context.remember();
    const start = continuity.newLineage ? from : (maxLsn(before.stands, from) ?? from);
    this.#recordStart(context, state, before.stands, start, around);
    const at = continuity.newSlot ? formatLsn(from) : await currentLsn(client);
    await attach(client, streamedTables(around.selection.wanted, context), at, context);
    recordLimits(around.selection.wanted, at, context);
    if (options.setup === 'auto') recordDetached(around.plan.removed, context);
    // Only a start that does not follow the ledger's last record: there the position says what the record cannot.
    if (before.stands === null || continuity.gap !== null) this.#host.output.idle(formatLsn(start));
    return this.#stream(context, state, start, {
      held: continuity.newLineage ? { lsn: 0n, seq: -1 } : before.held,
      publications: [...context.streamed],
    });
  }

  /** The slot as it is, once nobody reads it: a connection of ours that has just died is gone in a moment. */
  async #freeSlot(client: ControlClient, database: string): Promise<SlotState | null> {
    const { slot: name } = this.#options;
    for (let tries = 1; ; tries++) {
      const slot = await readSlot(client, name);
      if (slot === null) return null;
      checkSlotIsOurs(slot, name, database);
      if (slot.activePid === null) return slot;
      if (tries === SLOT_TRIES) throw slotInUse(this.#options, slot.activePid);
      await new Promise((resolve) => setTimeout(resolve, SLOT_TRY_MS));
    }
  }

  #publicationNow(around: Surroundings, kept: SourceState | null): 'kept' | 'missing' | 'replaced' {
    if (!around.mainExists || this.#publicationFailed) return 'missing';
    return kept?.publication === undefined || kept.publication === around.mainOid ? 'kept' : 'replaced';
  }

  /** Without `setup: auto` nothing is created: the SQL is said, with exit 2 on a first start and 3 when history is lost. */
  #requireAllowed(around: Surroundings, slot: SlotState | null, continuity: Continuity): void {
    const options = this.#options;
    if (options.setup === 'auto') return;
    const needsSlot = slot === null || slot.lost !== null;
    if (continuity.gap !== null && continuity.newSlot) {
      if (!around.mainExists) throw publicationLost(options, around.plan);
      const statements = [...(slot === null ? [] : [dropSlotStatement(options.slot)]), slotStatement(options.slot)];
      throw new AuditError('AUD_PG_SLOT_LOST', {
        message: `The slot ${options.slot} of source ${options.name} is ${slot === null ? 'gone' : `not usable any more (${slot.lost ?? continuity.gap.cause})`}.`,
        action: `Run: ${statements.join('; ')};  or set setup: auto. The changes in between are lost; a gap record will say so.`,
      });
    }
    if (around.mainExists && around.plan.added.length === 0 && !needsSlot) return;
    const statements = [...around.plan.statements, ...(needsSlot ? [slotStatement(options.slot)] : [])];
    throw new AuditError('AUD_PG_SETUP', {
      message: `Source ${options.name} is not set up, and setup: manual does not allow to do it.`,
      action: `Run this SQL as the tables' owner, or set setup: auto:\n\n  ${statements.join(';\n  ')};\n`,
      data: { statements },
    });
  }

  /** Does what is to be done and returns the position from which on the slot sees everything. */
  async #setUp(
    client: ControlClient,
    around: Surroundings,
    slot: SlotState | null,
    continuity: Continuity,
  ): Promise<bigint> {
    const options = this.#options;
    if (options.setup === 'auto' && around.plan.statements.length > 0) {
      await applyStatements(client, around.plan.statements);
      this.#host.log.info(
        { event: 'publication_set_up', statements: around.plan.statements },
        `Set up the publication ${options.publication}.`,
      );
    }
    if (!continuity.newSlot) return slot?.confirmed ?? 0n;
    if (slot !== null) await client.query(dropSlotStatement(options.slot));
    this.#host.log.info(
      { event: 'slot_creating', slot: options.slot },
      `Creates the slot ${options.slot}; the server waits for running transactions to end.`,
    );
    return createSlot(client, options.slot);
  }

  #recordGap(continuity: Continuity, to: bigint, database: string): void {
    const { gap } = continuity;
    if (gap === null) return;
    this.#host.output.control({
      kind: 'gap',
      action: 'gap',
      source: { database },
      outcome: 'unknown',
      details: {
        from: formatLsn(gap.from),
        to: formatLsn(to),
        cause: gap.cause,
        ...(gap.detail === undefined ? {} : { detail: gap.detail }),
        ...(continuity.newLineage ? { lineage_reset: true } : {}),
      },
    });
    this.#host.log.error(
      { event: 'gap', cause: gap.cause, from: formatLsn(gap.from), to: formatLsn(to) },
      `Changes between ${formatLsn(gap.from)} and ${formatLsn(to)} are not in the trail (${gap.cause}); a gap record says so.`,
    );
  }

  #recordStart(
    context: WatchContext,
    state: SourceState,
    previous: bigint | null,
    from: bigint,
    around: Surroundings,
  ): void {
    const { options, facts } = context;
    this.#host.output.control({
      kind: 'capture',
      action: 'start',
      source: { database: facts.database, lsn: formatLsn(from) },
      details: {
        from: formatLsn(from),
        previous: previous === null ? null : formatLsn(previous),
        server_version: facts.version,
        system_id: state.systemId,
        timeline: state.timeline,
        lineage: state.lineage,
        slot: options.slot,
        publication: options.publication,
        tables: around.selection.wanted.length,
        ...(around.selection.unlogged.length === 0
          ? {}
          : { unlogged: around.selection.unlogged.map((t) => `${t.schema}.${t.table}`) }),
      },
    });
  }

  #remember(state: SourceState, { known, published, streamed }: WatchContext): void {
    const { seen, publication } = published;
    this.#host.remember({ ...state, seen, publication, streamed: [...streamed], tables: known.toJSON() });
  }

  #warnOfPatterns(around: Surroundings): void {
    const { unusedPatterns, wanted, unlogged } = around.selection;
    if (this.#warnedPatterns) return;
    this.#warnedPatterns = true;
    for (const pattern of unusedPatterns) {
      this.#host.log.warn(
        {
          event: 'pattern_unused',
          pattern,
          action: `Tables that are captured: ${
            wanted
              .map((t) => `${t.schema}.${t.table}`)
              .slice(0, 20)
              .join(', ') || 'none'
          }.`,
        },
        `The pattern ${pattern} matches no table.`,
      );
    }
    for (const table of unlogged) {
      this.#host.log.warn(
        { event: 'table_unlogged' },
        `${table.schema}.${table.table} is unlogged: its changes are not in the log and cannot be captured.`,
      );
    }
  }

  #stream(
    context: WatchContext,
    state: SourceState,
    from: bigint,
    start: { held: Held; publications: readonly string[] },
  ): SourceStream {
    const { options, facts, known } = context;
    const host = this.#host;
    const idPrefix = state.lineage === 1 ? options.name : `${options.name}@${state.lineage}`;
    const source = { name: options.name, engine: 'postgres', database: facts.database };
    const rawText = facts.encoding === 'SQL_ASCII';
    const decoder = new PgoutputDecoder({
      output: host.output,
      actors: host.actors,
      idPrefix,
      source,
      held: start.held,
      checkUtf8: rawText,
      now: host.now,
    });
    const schemaEnvelope = envelopeCompiler({ idPrefix, kind: 'schema', source });
    const describe = async (message: RelationMessage) => {
      const details = await describeRelation(await this.#controlClient(), context.types, message);
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
    return new PostgresStream({
      name: options.name,
      client: clientConfig(options.url, options.name),
      slot: options.slot,
      publications: start.publications,
      from,
      decoder,
      rawText,
      output: host.output,
      metrics: host.metrics,
      describe,
      watch: (signal) => this.#watch(context, signal),
      failed: (error) => {
        if (error.code === 'AUD_PG_PUBLICATION_LOST') this.#publicationFailed = true;
      },
      now: host.now,
    });
  }

  /** Looks again and again until the signal aborts; a lost control connection is made anew. */
  async #watch(context: WatchContext, signal: AbortSignal): Promise<void> {
    const warned = new Set<string>();
    while (!signal.aborted) {
      await sleep(context.options.check_interval * 1000, signal);
      if (signal.aborted) return;
      try {
        const client = await this.#controlClient();
        await watchOnce(client, context, warned);
        await this.#sessions?.look(client);
      } catch (error) {
        if (signal.aborted) return;
        const code = error instanceof AuditError ? error.code : null;
        if (code !== null && ENDS_STREAM.has(code)) throw error;
        // The stream itself tells when the server is gone; a look that failed is only made again.
        context.log.warn(
          { event: 'watch_failed', code },
          `Could not look at the tables of ${context.options.name}: ${messageOf(error)}`,
        );
        await this.close();
      }
    }
  }

  async #controlClient(): Promise<ControlClient> {
    this.#control ??= await ControlClient.connect(this.#options.url, this.#options.name);
    return this.#control;
  }

  async close(): Promise<void> {
    const control = this.#control;
    this.#control = null;
    await control?.close();
  }
}

/** What a look finds that the stream cannot go on with. */
const ENDS_STREAM: ReadonlySet<string> = new Set([
  'AUD_PG_PUBLICATION_LOST',
  'AUD_PG_PUBLICATION_ADDED',
  'AUD_PG_SLOT_LOST',
]);
const SLOT_TRIES = 10;
const SLOT_TRY_MS = 200;

function slotInUse(options: ResolvedPostgres, pid: number): AuditError {
  return new AuditError('AUD_PG_SLOT_IN_USE', {
    message: `The slot ${options.slot} of source ${options.name} is read by another client (server process ${pid}).`,
    action: `Stop that client, or run: select pg_terminate_backend(${pid});  It is tried again.`,
    retry: 'after_operator',
    data: { pid },
  });
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
