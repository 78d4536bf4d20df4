// The source's tables and publications as they are, and what would have to change.
import type { ControlClient } from './client.ts';
import type { ResolvedPostgres } from './options.ts';
import type { TableMatcher } from './patterns.ts';
import type { ServerFacts } from './preflight.ts';
import { type PublicationMarks, publicationMarks, readPublications } from './publications.ts';
import { planPublications, type SetupPlan } from './setup.ts';
import { heldTables, readTables, selectTables, type TableSelection } from './tables.ts';

export interface Surroundings {
  readonly selection: TableSelection;
  readonly plan: SetupPlan;
  /** Names of the publications that exist, of the two. */
  readonly publications: readonly string[];
  readonly mainExists: boolean;
  /** OID of the main publication; null when it is missing. */
  readonly mainOid: number | null;
  readonly existing: ReadonlySet<number>;
  readonly marks: PublicationMarks;
}

/** Looks at the source's tables and publications and works out what would have to change. Changes nothing. */
export async function lookAround(
  client: ControlClient,
  context: { readonly options: ResolvedPostgres; readonly facts: ServerFacts; readonly matcher: TableMatcher },
): Promise<Surroundings> {
  const { options, facts, matcher } = context;
  const tables = await readTables(client);
  const names = [options.publication, options.insertPublication];
  const publications = await readPublications(client, names, facts.major);
  const makeFull = options.replica_identity === 'full';
  const toAlter = makeFull && options.setup === 'auto' ? tables.filter(({ identity }) => identity !== 'f') : [];
  const selection = selectTables(tables, {
    matcher,
    serverMajor: facts.major,
    makeFull,
    held: await heldTables(
      client,
      toAlter.map(({ oid }) => oid),
    ),
    partitions: options.partitions,
  });
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const existing = new Set(byOid.keys());
  const plan = planPublications({
    options,
    serverMajor: facts.major,
    wanted: selection.wanted,
    publications,
    existing,
    tableOf: (oid) => byOid.get(oid),
  });
  return {
    selection,
    plan,
    publications: [...publications.keys()],
    mainExists: publications.has(options.publication),
    mainOid: publications.get(options.publication)?.oid ?? null,
    existing,
    marks: publicationMarks(publications.values()),
  };
}

/** The log's end now, as the position from which on a change of the publication counts at the latest. */
export async function currentLsn(client: ControlClient): Promise<string> {
  const [row] = await client.query<{ lsn: string }>('select pg_catalog.pg_current_wal_insert_lsn()::text as lsn');
  return row!.lsn;
}
