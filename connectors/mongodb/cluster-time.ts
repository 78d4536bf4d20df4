import { int32, uint32 } from './bson/layout.ts';

/** A point in the order of all changes of a deployment: seconds since 1970 and a counter within the second. */
export interface ClusterTime {
  readonly seconds: number;
  readonly increment: number;
}

/** Negative when `a` is before `b`. */
export function compareTimes(a: ClusterTime, b: ClusterTime): number {
  return a.seconds - b.seconds || a.increment - b.increment;
}

/** `1795570983.18`, as it stands in records. */
export function timeText(time: ClusterTime): string {
  return `${time.seconds}.${time.increment}`;
}

export function parseTime(text: unknown): ClusterTime | null {
  const match = typeof text === 'string' ? /^(\d{1,10})\.(\d{1,10})$/.exec(text) : null;
  return match === null ? null : { seconds: Number(match[1]), increment: Number(match[2]) };
}

/** The BSON timestamp at `p`: increment first, as the server stores it. */
export function timeAt(b: Uint8Array, p: number): ClusterTime {
  return { seconds: uint32(b, p + 4), increment: int32(b, p) >>> 0 };
}

export function isoTime(time: ClusterTime): string {
  return new Date(time.seconds * 1000).toISOString();
}
