import type { Position } from '../../src/core/output.ts';
import { type ClusterTime, compareTimes, parseTime, timeText } from './cluster-time.ts';
import { tokenTime } from './resume-token.ts';

/**
 * Where capture stands: all changes before `time` are recorded, and those at `time` up to the ordinal `seq` (-1: none of
 * them). The stream is started again at `time` itself, so that a transaction is always delivered whole, with its context
 * document; what is recorded is dropped by (time, seq).
 */
export interface MongoPosition {
  readonly time: ClusterTime;
  readonly seq: number;
  /** Token of an event at or before `time`: the server refuses it when its history is another one. */
  readonly token: string | null;
  /** The database whose stream gave the token; null: the stream of the whole cluster. */
  readonly database: string | null;
}

export function formatPosition(position: MongoPosition): Position {
  const { time, seq, token, database } = position;
  return JSON.stringify({ ts: timeText(time), seq, token, ...(database === null ? {} : { database }) });
}

/** Null for anything but what `formatPosition` wrote. */
export function parsePosition(text: Position | null): MongoPosition | null {
  if (text === null) return null;
  try {
    const value = JSON.parse(text) as { ts?: unknown; seq?: unknown; token?: unknown; database?: unknown };
    const time = parseTime(value.ts);
    if (time === null || !Number.isSafeInteger(value.seq)) return null;
    // What is no token would be refused at every start, and is no proof of anything.
    const token = typeof value.token === 'string' && tokenTime(value.token) !== null ? value.token : null;
    const database = typeof value.database === 'string' ? value.database : null;
    return { time, seq: value.seq as number, token, database };
  } catch {
    return null;
  }
}

/** A record of the stream by its place: cluster time, ordinal. */
export interface RecordPlace {
  readonly time: ClusterTime;
  readonly seq: number;
}

/** The later of two places; null is before everything. */
export function laterPlace<T extends RecordPlace>(a: T | null, b: T | null): T | null {
  if (a === null || b === null) return a ?? b;
  return (compareTimes(a.time, b.time) || a.seq - b.seq) >= 0 ? a : b;
}
