// Where a stream starts: a pure decision, so that every case is a row of a test.
import type { ResumePoint } from '../../src/core/connector.ts';
import type { Deployment } from './client.ts';
import { type ClusterTime, compareTimes, parseTime } from './cluster-time.ts';
import type { HistoryLost } from './errors.ts';
import { laterPlace, parsePosition, type RecordPlace } from './position.ts';

/** What is remembered beside the position. */
export type SourceState = {
  readonly replica_set_id: string | null;
  readonly set_name: string | null;
  /** `user@database` of everybody ever seen. */
  readonly users: readonly string[];
  /** Collections with images on, as `database.collection`. */
  readonly images: readonly string[];
};

export type GapCause = HistoryLost | 'other_cluster' | 'server_behind';

/** True when what comes next is another history than the ledger's, so that ids begin anew. */
export function isOtherHistory(cause: GapCause): boolean {
  return cause === 'other_cluster' || cause === 'server_behind' || cause === 'resume_token_not_found';
}

export interface Start {
  /** The stream starts at this time, all of it included. */
  readonly time: ClusterTime;
  /** The last place the ledger holds; what comes up to it is dropped. Null: nothing is held. */
  readonly held: HeldPlace | null;
  /** A token the server is asked about before: it refuses it when its history is another. */
  readonly proof: string | null;
}

export interface HeldPlace extends RecordPlace {
  /** Of a rename's two records only the first is held. */
  readonly partOnly: boolean;
}

/**
 * Where the ledger stands, or null when it never saw the source. `database`: the only one that the stream is to read, null
 * for the whole cluster.
 */
export function whereItStands(resume: ResumePoint, database: string | null): Start | null {
  const position = parsePosition(resume.position);
  const last = lastPlace(resume.last);
  const held = laterPlace<HeldPlace>(last, position === null ? null : { ...position, partOnly: false });
  if (held === null) return null;
  // The ledger's record decides when it is later: its whole transaction is read again, for its context document.
  const time =
    last !== null && (position === null || compareTimes(last.time, position.time) > 0) ? last.time : held.time;
  // The stream of one database does not have the events of another, so their tokens prove nothing to it.
  const known = database === null || position?.database === database;
  return { time, held, proof: known ? (position?.token ?? null) : null };
}

function lastPlace(last: ResumePoint['last']): HeldPlace | null {
  const time = parseTime(last?.['ts']);
  const seq = last?.['seq'];
  if (time === null || typeof seq !== 'number') return null;
  return { time, seq, partOnly: last?.['part'] === 1 };
}

/** A start without anything before it: just behind what the server has now. */
export function freshStart(now: ClusterTime): Start {
  return { time: { seconds: now.seconds, increment: now.increment + 1 }, held: null, proof: null };
}

/** Where capture goes on when history is lost. What the ledger holds of the same history must not be recorded again. */
export function restartTime(policy: string, now: ClusterTime, stands: Start, cause: GapCause): ClusterTime {
  const fresh = freshStart(now).time;
  if (policy === 'now') return fresh;
  const wanted = { seconds: Math.floor(Date.parse(policy) / 1000), increment: 1 };
  return !isOtherHistory(cause) && compareTimes(wanted, stands.time) <= 0 ? fresh : wanted;
}

/** Whether the deployment is another one than the ledger stands in, before anything is read from it. */
export function otherHistory(stands: Start, state: SourceState | null, deployment: Deployment): GapCause | null {
  if (state !== null) {
    const { replica_set_id: id, set_name: name } = state;
    const comparable = id !== null && deployment.replicaSetId !== null;
    if (comparable ? id !== deployment.replicaSetId : name !== deployment.setName) return 'other_cluster';
  }
  // Only what a majority has is ever delivered, so an election cannot take it back: a copy was restored, or it is another set.
  return compareTimes(stands.time, deployment.now) > 0 ? 'server_behind' : null;
}

export function restoreState(value: ResumePoint['state']): SourceState | null {
  if (value === null) return null;
  const text = (key: string) => (typeof value[key] === 'string' ? (value[key] as string) : null);
  const list = (key: string) =>
    Array.isArray(value[key]) ? value[key].filter((item) => typeof item === 'string') : [];
  return {
    replica_set_id: text('replica_set_id'),
    set_name: text('set_name'),
    users: list('users'),
    images: list('images'),
  };
}
