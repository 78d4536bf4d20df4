import type { ByteWriter } from './byte-writer.ts';
import { fragment } from './byte-writer.ts';

/**
 * The parts of a record that are the same for all changes of a transaction, as finished bytes. A change is then
 *
 *     {"v":1,"index":N  ‹head›SEQ‹source›SEQ  ‹action and object›KEY}  ‹actor›  ‹outcome›  changed … before … after}
 *
 * where ‹…› are constants of the transaction, the relation and the actor.
 */
export interface TransactionFragments {
  /** `,"id":"shop:0/1A2B3C8:` */
  readonly head: Uint8Array;
  /** `","kind":"change","time":"…","captured":"…","source":{…,"lsn":"…","tx":"…","seq":` */
  readonly source: Uint8Array;
}

/** What all transactions of a stream have in common; compiled once. */
export interface EnvelopeTemplate {
  /** First part of every id: the source's name. */
  readonly idPrefix: string;
  readonly kind: 'change' | 'schema' | 'baseline';
  /** `source` without what the transaction adds: name, engine, database. */
  readonly source: Readonly<Record<string, unknown>>;
}

/** What a transaction adds. Texts that need no escaping: positions, numbers, times. */
export interface TransactionFields {
  /** Middle part of the ids: `0/1A2B3C8`. */
  readonly position: string;
  /** ISO 8601 in UTC, microseconds where the source has them. */
  readonly time: string;
  readonly captured: string;
  /** Goes on with `source`: `,"lsn":"0/1A2B3C8","tx":"7411"`. */
  readonly source: string;
}

/** Makes the fragments of one transaction after the other; nothing is built twice. */
export function envelopeCompiler(template: EnvelopeTemplate): (fields: TransactionFields) => TransactionFragments {
  const id = `,"id":${JSON.stringify(template.idPrefix).slice(0, -1)}:`;
  const kind = `","kind":"${template.kind}","time":"`;
  const source = `","source":${JSON.stringify(template.source).slice(0, -1)}`;
  return (fields) => ({
    head: Buffer.from(`${id}${fields.position}:`),
    source: Buffer.from(`${kind}${fields.time}","captured":"${fields.captured}${source}${fields.source},"seq":`),
  });
}

/** Writes the id, kind, times and source of a record; the caller goes on with `}` of source and the action. */
export function writeEnvelope(out: ByteWriter, transaction: TransactionFragments, seq: number, idSuffix = ''): void {
  out.bytes(transaction.head);
  out.integer(seq);
  if (idSuffix !== '') out.bytes(fragment(JSON.stringify(idSuffix).slice(1, -1)));
  out.bytes(transaction.source);
  out.integer(seq);
}

/** `},"action":"update","object":{"schema":"public","table":"users"` : the caller adds `,"key":…` and `}`. */
export function actionFragment(action: string, object: Readonly<Record<string, unknown>>): Uint8Array {
  return fragment(`},"action":${JSON.stringify(action)},"object":${JSON.stringify(object).slice(0, -1)}`);
}

export const OUTCOME_SUCCESS = fragment(',"outcome":"success"');

const MICROS_PER_SECOND = 1_000_000n;

/** The last second that was asked for, and its text: commits come in order, so most ask for the same. */
let lastSecond: bigint | null = null;
let lastSecondText = '';

/** ISO 8601 with six digits from microseconds since 1970. */
export function isoMicros(micros: bigint): string {
  let second = micros / MICROS_PER_SECOND;
  let rest = micros % MICROS_PER_SECOND;
  if (rest < 0n) {
    rest += MICROS_PER_SECOND;
    second -= 1n;
  }
  if (second !== lastSecond) {
    lastSecondText = new Date(Number(second) * 1000).toISOString().slice(0, -4);
    lastSecond = second;
  }
  return `${lastSecondText}${String(rest).padStart(6, '0')}Z`;
}

let lastMs = Number.NaN;
let lastMsText = '';

/** ISO 8601 with three digits from milliseconds since 1970. */
export function isoMillis(ms: number): string {
  if (ms !== lastMs) {
    lastMsText = new Date(ms).toISOString();
    lastMs = ms;
  }
  return lastMsText;
}
