import { AuditError } from '../../src/errors/audit-error.ts';

/** An LSN as the server writes it: `16/B374D848`. The number is the byte position in the write-ahead log, 64 bits. */
export function formatLsn(lsn: bigint): string {
  return `${hex(Number(lsn >> 32n))}/${hex(Number(lsn & 0xffffffffn))}`;
}

function hex(value: number): string {
  return value.toString(16).toUpperCase();
}

/** @throws AUD_PG_PROTOCOL when the text is not an LSN. */
export function parseLsn(text: string): bigint {
  const match = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(text);
  if (match === null) throw new AuditError('AUD_PG_PROTOCOL', { message: 'A position is not of the form 0/1A2B3C8.' });
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

export function maxLsn(a: bigint | null, b: bigint | null): bigint | null {
  if (a === null) return b;
  return b === null || a > b ? a : b;
}

/** Microseconds between 1970-01-01 and 2000-01-01, the epoch of PostgreSQL's timestamps. */
export const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;
