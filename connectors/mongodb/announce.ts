// What a start says: to the ledger by control records, to the operator by the log.
import type { SourceHost } from '../../src/core/connector.ts';
import { type Deployment, describeDeployment } from './client.ts';
import { type ClusterTime, compareTimes, isoTime, timeText } from './cluster-time.ts';
import { type CollectionInfo, patternFix } from './collections.ts';
import type { ResolvedMongodb } from './resolved.ts';
import { type GapCause, isOtherHistory, type SourceState, type Start } from './resume.ts';
import { imagesText } from './setup.ts';

/** Collections named in one warning; `doctor` lists all. */
const MAX_NAMED = 5;

/** The source that is spoken of. */
export interface Announced {
  readonly host: SourceHost;
  readonly options: ResolvedMongodb;
}

const GAP_ACTIONS: Readonly<Record<GapCause, string>> = {
  other_cluster:
    'If the url is wrong, correct it (mongosh "<url>" --eval "rs.conf().settings.replicaSetId" tells which set it is); a new deployment is better given a new source name in the configuration.',
  server_behind: 'If the url is wrong, correct it; after a restore of the database nothing is to be done.',
  resume_token_not_found: 'If the url is wrong, correct it; after a restore of the database nothing is to be done.',
  resume_token_invalid:
    'Nothing, if the server was downgraded or a copy of the data directory was put back; else see who wrote to the directory.',
  oplog_rolled_over: 'Enlarge the oplog: db.adminCommand({ replSetResizeOplog: 1, size: <MB> }), or minRetentionHours.',
};

/** History between where the ledger stood and where capture goes on is missing: the record that says so, before any other. */
export function recordGap({ host }: Announced, cause: GapCause, stands: Start, to: ClusterTime): void {
  const lineageReset = isOtherHistory(cause);
  const from = stands.time;
  host.output.control({
    kind: 'gap',
    action: 'gap',
    outcome: 'unknown',
    details: { ...span(from, to), cause, ...(lineageReset ? { lineage_reset: true } : {}) },
  });
  host.log.error(
    {
      event: 'gap',
      cause,
      from: timeText(from),
      to: timeText(to),
      action: GAP_ACTIONS[cause],
    },
    gapText(cause, from, to),
  );
}

function gapText(cause: GapCause, from: ClusterTime, to: ClusterTime): string {
  if (isOtherHistory(cause)) {
    return `The deployment is another one than before, or an older copy of it (${cause}): what it did after ${isoTime(from)} is not in the trail, capture begins anew at ${isoTime(to)}; a gap record says so.`;
  }
  if (compareTimes(from, to) === 0) {
    return `The server cannot read the kept resume token (${cause}): capture goes on by the time, ${isoTime(from)}, without its proof that this is the same history; a gap record says so.`;
  }
  return `Changes between ${isoTime(from)} and ${isoTime(to)} may be missing from the trail (${cause}); a gap record says so.`;
}

/** Somewhere between two times is an event that the server cannot deliver, whatever is left out of it. */
export function recordPassedOver(host: SourceHost, from: ClusterTime, to: ClusterTime): void {
  const cause = 'event_undeliverable';
  host.output.control({ kind: 'gap', action: 'gap', outcome: 'unknown', details: { ...span(from, to), cause } });
  host.log.error(
    {
      event: 'gap',
      cause,
      from: timeText(from),
      to: timeText(to),
      action:
        'Find who writes documents with an _id of more than 3 MB: the oplog entries between the two times name them.',
    },
    `A change between ${isoTime(from)} and ${isoTime(to)} is not in the trail: its key is larger than the server can deliver; a gap record says so.`,
  );
}

function span(from: ClusterTime, to: ClusterTime): Record<string, string> {
  return { from: timeText(from), to: timeText(to), from_time: isoTime(from), to_time: isoTime(to) };
}

/** The `capture` start record: where it starts, on what, with what set up. */
export function recordStart(
  { host, options }: Announced,
  deployment: Deployment,
  stands: Start | null,
  start: Start,
  collections: number,
  state: SourceState,
): void {
  const { scope, oplog_view, context_collection } = options;
  host.output.control({
    kind: 'capture',
    action: 'start',
    source: { ts: timeText(start.time) },
    details: {
      from: timeText(start.time),
      previous: stands === null ? null : timeText(stands.time),
      server_version: deployment.version,
      sharded: deployment.sharded,
      authentication: deployment.authentication,
      replica_set_id: state.replica_set_id,
      set_name: state.set_name,
      scope,
      oplog_view,
      context_collection,
      collections,
    },
  });
  host.log.info(
    {
      event: 'opened',
      ...describeDeployment(deployment),
      from: timeText(start.time),
      collections,
    },
    `Reads the change stream of MongoDB ${deployment.version}.`,
  );
}

/** What was there when capture began: the records of later changes build on it. */
export function recordCollections({ host }: Announced, collections: readonly CollectionInfo[]): void {
  for (const { database, collection, type, options } of collections) {
    if (options === null) continue;
    host.output.control({
      kind: 'schema',
      action: 'read',
      source: { database },
      object: { database, collection },
      after: { type, ...options },
    });
  }
}

/** A misspelt name is the usual reason for a pattern without collections. */
export function warnOfPatterns({ host, options }: Announced, collections: readonly CollectionInfo[]): void {
  for (const pattern of options.matcher.unused(collections)) {
    host.log.warn(
      { event: 'pattern_unused', pattern, action: patternFix(pattern, collections) },
      `The pattern ${pattern} matches no collection yet.`,
    );
  }
}

/** `bare`: captured collections without images, at least one. */
export function warnOfImages({ host }: Announced, bare: readonly CollectionInfo[]): void {
  const commands = bare.slice(0, MAX_NAMED).map((c) => imagesText(c.database, c.collection));
  const more = bare.length > MAX_NAMED ? ` (and ${bare.length - MAX_NAMED} more: changetrail setup --print)` : '';
  host.log.warn(
    {
      event: 'images_off',
      collections: bare.length,
      action: `As an administrator: ${commands.join('; ')}${more}`,
    },
    `${bare.length} captured collection${bare.length === 1 ? ' has' : 's have'} no pre- and post-images: records of updates and deletes lack before and after.`,
  );
}
