// What a resume token says by itself. It is a KeyString in hex: cluster time, version, kind of token, place in the
// transaction, … Only its order and the two numbers below are used; a form that is not known is reported as null.
import type { ClusterTime } from './cluster-time.ts';

const TIMESTAMP = '82';
const TIME_END = 18;
const ZERO = '29';
/** Types of small positive integers: one to four bytes follow, the value shifted left by one. */
const POSITIVE_1 = 0x2b;
const POSITIVE_4 = 0x2e;

/** The cluster time at the front of a token. */
export function tokenTime(token: string): ClusterTime | null {
  if (!token.startsWith(TIMESTAMP) || !/^[0-9A-F]{16}/i.test(token.slice(2, TIME_END))) return null;
  return {
    seconds: Number.parseInt(token.slice(2, 10), 16),
    increment: Number.parseInt(token.slice(10, TIME_END), 16),
  };
}

/** True for a token that stands for a time only, before every event of it. */
export function isHighWaterMark(token: string): boolean {
  const version = integer(token, TIME_END);
  const kind = version === null ? null : integer(token, version.next);
  return kind !== null && kind.value === 0;
}

/**
 * The place of the event's operation in its transaction, 0 for a write by itself. The server counts all operations of the
 * transaction, whatever the stream filters out.
 */
export function operationIndex(token: string): number | null {
  const version = integer(token, TIME_END);
  const kind = version === null ? null : integer(token, version.next);
  const index = kind === null ? null : integer(token, kind.next);
  return index === null ? null : index.value;
}

interface Integer {
  readonly value: number;
  readonly next: number;
}

function integer(token: string, at: number): Integer | null {
  const type = token.slice(at, at + 2);
  if (type === ZERO) return { value: 0, next: at + 2 };
  const code = Number.parseInt(type, 16);
  if (!(code >= POSITIVE_1 && code <= POSITIVE_4)) return null;
  const next = at + 2 + (code - POSITIVE_1 + 1) * 2;
  const shifted = Number.parseInt(token.slice(at + 2, next), 16);
  return Number.isNaN(shifted) ? null : { value: Math.floor(shifted / 2), next };
}
